"""Epochs that are kept: which, whole, equal after a kill, and read back to the same network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from selfdistill import runs, train
from selfdistill._core.errors import Interrupted, RunError, SettingError
from selfdistill._core.events import BatchDone
from selfdistill._core.labels import held_out
from selfdistill.runs._directory import _room, run
from selfdistill.runs._model_file import EPOCHS, epoch_snapshots, load_model, load_snapshot, snapshot_epochs
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._methods import method_of
from selfdistill.train._runtime import TorchRuntime


def settings(**asked):
    return train.Settings(method="cross-entropy", network="mlp:8", epochs=5, **asked).resolve(1438, "cpu")


@pytest.fixture(scope="module")
def digits():
    return runs.noisy_digits(0)[0]


@pytest.mark.parametrize("epochs", [1, 2, 7, 30])
@pytest.mark.parametrize("keep", [1, 2, 5, 100, "all"])
def test_as_many_as_asked_evenly_the_last_among_them(keep, epochs):
    kept = sorted(snapshot_epochs(keep, epochs))
    assert len(kept) == (epochs if keep == "all" else min(keep, epochs))
    assert kept[-1] == epochs
    assert kept[0] >= 1
    gaps = {b - a for a, b in zip([0, *kept], kept, strict=False)}
    assert max(gaps) - min(gaps) <= 1


def test_a_run_keeps_them_and_the_last_is_the_runs_model(tmp_path, digits):
    record = run(digits, settings(keep_epochs=3), tmp_path / "run", source={})
    kept = epoch_snapshots(tmp_path / "run")
    assert list(kept) == [2, 3, 5]
    assert record.settings.keep_epochs == 3
    model = load_model(tmp_path / "run" / "model.safetensors").network
    last = load_file(kept[5])
    assert all(torch.equal(value, last[name]) for name, value in model.state_dict().items())
    fitted = fit(digits, replace(settings(), epochs=2, lr=0.0301))  # another network of the same shape
    now = load_snapshot(kept[5], fitted.model)
    assert all(torch.equal(value, last[name]) for name, value in now.state_dict().items())
    early = load_file(kept[2])
    assert any(not torch.equal(value, last[name]) for name, value in early.items())


def test_off_by_default(tmp_path, digits):
    run(digits, settings(), tmp_path / "run", source={})
    assert epoch_snapshots(tmp_path / "run") == {}
    assert not (tmp_path / "run" / EPOCHS).exists()


def test_a_stopped_run_ends_with_the_same_bytes(tmp_path, digits):
    def stop(event):
        if isinstance(event, BatchDone) and (event.epoch, event.step) == (2, 3):
            raise KeyboardInterrupt

    run(digits, settings(keep_epochs="all"), tmp_path / "whole", source={})
    with pytest.raises(Interrupted):
        run(digits, settings(keep_epochs="all"), tmp_path / "cut", source={}, tell=stop)
    run(digits, settings(keep_epochs="all"), tmp_path / "cut", source={}, resume=True)
    a, b = (epoch_snapshots(tmp_path / name) for name in ("whole", "cut"))
    assert list(a) == list(b) == [1, 2, 3, 4, 5]
    assert all(a[epoch].read_bytes() == b[epoch].read_bytes() for epoch in a)


def test_the_room_on_disk_counts_them(digits):
    parameters = 1_001_000
    one, two = (_room(parameters, digits, settings(keep_epochs=keep)) for keep in (None, "all"))
    assert two - one == 5 * 4 * 1_001_000


def test_damage_and_other_networks_are_told(tmp_path):
    path = tmp_path / "epoch-0001.safetensors"
    path.write_bytes(b"half of it")
    with pytest.raises(RunError, match=r"epoch-0001.safetensors is damaged or of another network"):
        load_snapshot(path, torch.nn.Linear(2, 2))


@pytest.mark.parametrize("keep", [0, -1, "some", True, 1.5])
def test_other_words_are_refused(keep):
    with pytest.raises(SettingError, match="but must be 'all' or a whole number above 0"):
        settings(keep_epochs=keep)


def test_held_out_examples_are_never_trained_on_and_measured_each_epoch(tmp_path, digits):
    asked = settings(held_out=0.1)
    record = run(digits, asked, tmp_path / "run", source={})
    _, held = held_out(digits.labels, 0.1, 0)
    assert len(record.curves["held_out_accuracy"]) == 5
    fitted = fit(digits, asked)
    p = predict_probabilities(fitted.model, digits.inputs[held], TorchRuntime())
    torch.testing.assert_close(fitted.targets.refined()[held], p)
    assert fitted.dynamics.seen[held].sum() == 0
    assert record.curves["held_out_accuracy"][-1] == pytest.approx(
        (p.argmax(-1) == digits.labels[held]).float().mean().item()
    )


def test_methods_that_need_all_examples_hold_none_out():
    with pytest.raises(SettingError, match=r"method 'selfdistill' learns from all examples .* cross-entropy"):
        method_of(train.Settings(held_out=0.1))
    with pytest.raises(SettingError, match=r"held_out is 1.5, but must be in \(0, 1\)"):
        settings(held_out=1.5)
