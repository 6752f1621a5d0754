"""The robust losses in real training: each learns under 40 % wrong labels, and goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfdistill import train
from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.data._source import from_arrays
from selfdistill.networks._build import build
from selfdistill.train import _checkpoint_manager
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

N, K = 400, 4


def blobs(n=N, rate=0.4, seed=0):
    """Four clusters; the labels of a share ``rate`` are another class, drawn evenly."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n)
    x = 2.5 * np.eye(K, 6)[truth] + rng.normal(size=(n, 6))
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, K, n)) % K, truth)
    return from_arrays(x.astype(np.float32), given.astype(str)), torch.from_numpy(truth), x


@pytest.fixture
def matrix(tmp_path: Path) -> str:
    T = 0.6 * np.eye(K) + 0.4 * (1 - np.eye(K)) / (K - 1)
    np.save(tmp_path / "T.npy", T)
    return str(tmp_path / "T.npy")


def settings(method, **kwargs):
    chosen = {"network": "mlp:64", "epochs": 24, "batch_size": 32, "lr": 0.05} | kwargs
    return train.Settings(method=method, **chosen).resolve(N, "cpu")


def accuracy(fitted, seed=1):
    """On new clean examples."""
    new, truth, _ = blobs(2000, rate=0.0, seed=seed)
    predicted = predict_probabilities(fitted.model, new.inputs, TorchRuntime()).argmax(-1)
    return (predicted == truth).float().mean().item()


PLAIN = ["bootstrap-soft", "bootstrap-hard", "forward", "backward", "gce", "gce-truncated", "sce"]


@pytest.mark.parametrize(("method", "known"), [*((m, False) for m in PLAIN), ("forward", True), ("backward", True)])
def test_learns_under_noise(method, known, matrix):
    part, _, _ = blobs(2000)
    fitted = fit(part, settings(method, epochs=8, noise_matrix=matrix if known else None))
    assert accuracy(fitted) > 0.85  # 0.6 of the labels are right; the best classifier has 0.906
    assert fitted.curves[-1]["agreement"] < 0.7


def mislabelled(n=2000, seed=0):
    """Six of ten examples of class 0 are given label 1: most often that label, so that no robust loss can know."""
    part, truth, _ = blobs(n, rate=0.0, seed=seed)
    moved = torch.from_numpy(np.random.default_rng(seed).random(n) < 0.6) & (truth == 0)
    return replace(part, labels=torch.where(moved, 1, truth))


def test_a_known_matrix_undoes_noise_that_outvotes_a_class(tmp_path):
    T = np.eye(K)
    T[0, :2] = 0.4, 0.6
    np.save(tmp_path / "T.npy", T)
    right = {}
    for method in ("cross-entropy", "forward", "backward"):
        known = None if method == "cross-entropy" else str(tmp_path / "T.npy")
        right[method] = accuracy(fit(mislabelled(), settings(method, epochs=8, noise_matrix=known)))
    assert right["cross-entropy"] < 0.75  # class 0 is lost
    assert min(right["forward"], right["backward"]) > 0.85


class StopError(Exception):
    pass


def stopped_and_gone_on(part, chosen, folder, monkeypatch, *, epoch, start):
    """Die after an epoch of the training that begins as number ``start``, then go on from the checkpoint."""
    monkeypatch.setattr(_checkpoint_manager, "_CHECKPOINT_SECONDS", 0.0)
    made = []

    def stop(event):
        made.extend([1] if type(event).__name__ == "RunStarted" else [])
        if type(event).__name__ == "EpochDone" and event.epoch == epoch and len(made) == start:
            raise StopError

    with pytest.raises(StopError):
        fit(part, chosen, tell=stop, checkpoints=folder)
    return fit(part, chosen, checkpoints=folder)


@pytest.mark.parametrize(
    ("method", "start", "epoch"),
    [("gce-truncated", 1, 5), ("forward", 1, 3), ("forward", 2, 3), ("backward", 2, 3)],
)
def test_a_stopped_run_goes_on_to_the_same_weights(method, start, epoch, tmp_path, monkeypatch):
    """The truncated form after its first predictions of all; the corrections in the first training and after."""
    part, _, _ = blobs(100)
    chosen = settings(method, epochs=8, network="mlp:16")
    whole = fit(part, chosen)
    again = stopped_and_gone_on(part, chosen, tmp_path / "c", monkeypatch, epoch=epoch, start=start)
    for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for key, value in whole.targets.state_dict().items():
        assert torch.equal(value, again.targets.state_dict()[key]), key


def test_the_truncated_form_equals_a_plain_loop():
    """The whole training written out: all examples for a third of the epochs, then those whose label is believed."""
    part, _, _ = blobs(200)
    chosen = settings("gce-truncated", epochs=6, network="mlp:16")
    fitted = fit(part, chosen)
    net = build("mlp:16", (6,), K, seed=0, stats=None)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, 6 * 7 + 1, pct_start=0.05, cycle_momentum=False)
    kept = torch.ones(200, dtype=torch.bool)
    sizes = []
    for epoch in range(6):
        order = torch.randperm(200, generator=torch_generator(0, "shuffle", epoch))
        for index in order.split(32):
            p = net(part.inputs[index]).softmax(-1).gather(1, part.labels[index, None])[:, 0]
            loss = (kept[index] * (1 - p**0.7) / 0.7).sum() / len(index)
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()
        if 2 <= epoch + 1 < 6:
            with torch.no_grad():
                kept = net(part.inputs).softmax(-1).gather(1, part.labels[:, None])[:, 0] > 0.5
        sizes.append(int(kept.sum()))
    assert sizes[0] == 200 > sizes[1]
    assert torch.equal(fitted.targets.kept, kept)
    for a, b in zip(fitted.model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_given_matrix_needs_no_training_before_it(matrix):
    started = []
    for given in (None, matrix):
        fit(blobs(100)[0], settings("forward", epochs=1, noise_matrix=given),
                  tell=lambda event: started.append(type(event).__name__))  # fmt: skip
    assert started.count("RunStarted") == 3
    with pytest.raises(SettingError, match=r"a method that takes it: .*forward, backward"):
        fit(blobs(100)[0], settings("gce", noise_matrix=matrix))


def test_a_singular_matrix_is_refused_before_anything_is_trained(tmp_path):
    np.save(tmp_path / "T.npy", np.full((K, K), 1 / K))
    events = []
    with pytest.raises(SettingError, match=r"singular, or nearly so.*method 'forward'"):
        fit(blobs(100)[0], settings("backward", noise_matrix=str(tmp_path / "T.npy")), tell=events.append)
    assert events == []
