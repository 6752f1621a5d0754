"""Which epoch is kept, on curves written by hand and in real training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill import train
from selfdistill._core.labels import held_out
from selfdistill.data._source import from_arrays
from selfdistill.rivals.chen2021nts import best_on_held_out
from selfdistill.rivals.yuan2024labelwave import first_trough
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._methods import METHODS
from selfdistill.train._runtime import TorchRuntime


def noisy(n=300, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    x = rng.normal(0, 0.7, (n, 5)) + 3 * np.eye(k, 5)[y]
    given = np.where(rng.random(n) < 0.4, rng.integers(0, k, n), y)
    return from_arrays(x.astype(np.float32), given, truth=y)


@given(st.integers(0, 100), st.floats(0.0, 0.9))
def test_held_out_examples_are_the_same_share_of_each_class(seed, share):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, 50))
    drawn, held = held_out(labels, share, seed)
    drawn = torch.arange(50) if drawn is None else drawn
    assert sorted([*drawn.tolist(), *held.tolist()]) == list(range(50))
    for label in range(3):
        assert (labels[held] == label).sum() == int(share * (labels == label).sum())


@pytest.mark.parametrize("method", ["early-stopping", "label-wave"])
def test_the_kept_weights_are_those_of_the_kept_epoch(method):
    part = noisy()
    settings = train.Settings(method=method, network="mlp:64", epochs=8, lr=0.1).resolve(len(part), "cpu")
    fitted = fit(part, settings)
    rule = {"early-stopping": best_on_held_out, "label-wave": first_trough}[method]
    stops = [i + 1 for i in range(8) if rule(fitted.curves[: i + 1])]
    assert fitted.kept_epoch == stops[-1]
    predicted = predict_probabilities(fitted.model, part.inputs, TorchRuntime())
    torch.testing.assert_close(fitted.targets.refined(), predicted)
    if method == "early-stopping":
        _, held = held_out(part.labels, 0.1, settings.seed)
        right = (predicted.argmax(-1) == part.labels)[held].float().mean().item()
        assert right == pytest.approx(max(epoch["held_out_accuracy"] for epoch in fitted.curves), abs=1e-6)


def test_held_out_examples_are_never_trained_on_and_still_get_a_refined_label():
    part = noisy()
    seen = torch.zeros(len(part), dtype=torch.bool)
    settings = train.Settings(method="early-stopping", network="mlp:8", epochs=2).resolve(len(part), "cpu")

    method = METHODS["early-stopping"]

    def watched(forward, batch, view, targets, loss):
        seen[batch.index] = True
        return method.objective(forward, batch, view, targets, loss)

    fitted = fit(part, settings, method=replace(method, objective=watched))
    _, held = held_out(part.labels, 0.1, settings.seed)
    assert not seen[held].any()
    assert seen.sum() == len(part) - len(held)
    assert fitted.targets.refined().sum(-1).allclose(torch.ones(len(part)))


def test_a_stopped_run_keeps_what_was_kept(tmp_path):
    part = noisy()
    settings = train.Settings(method="early-stopping", network="mlp:16", epochs=6, lr=0.1).resolve(len(part), "cpu")
    whole = fit(part, settings)

    class StopError(Exception):
        pass

    def stop(event):
        if type(event).__name__ == "EpochDone" and event.epoch == 3:
            raise StopError

    from selfdistill.train import _checkpoint_manager

    before, _checkpoint_manager._CHECKPOINT_SECONDS = _checkpoint_manager._CHECKPOINT_SECONDS, 0.0
    try:
        with pytest.raises(StopError):
            fit(part, settings, tell=stop, checkpoints=tmp_path / "c")
    finally:
        _checkpoint_manager._CHECKPOINT_SECONDS = before
    again = fit(part, settings, checkpoints=tmp_path / "c")
    assert again.kept_epoch == whole.kept_epoch
    for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_settings_that_a_method_cannot_use_are_refused():
    part = noisy(60)
    for wrong, text in (
        ({"noise_rate": 0.4}, "takes no `noise_rate`"),
        ({"noise_matrix": "T.csv"}, "takes no `noise_matrix`"),
        ({"network": "2*mlp"}, "trains one network"),
    ):
        with pytest.raises(Exception, match=text):
            fit(part, train.Settings(method="cross-entropy", **wrong).resolve(60, "cpu"))
