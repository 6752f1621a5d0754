"""Both methods in real training: that they learn through noise, and go on where they were stopped."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from selfdistill import train
from selfdistill._core.events import BatchDone, RunStarted
from selfdistill.data._source import from_arrays
from selfdistill.networks._small_networks import Pair
from selfdistill.train import _checkpoint_manager
from selfdistill.train._fit import fit

methods = pytest.mark.parametrize("method", ["co-teaching", "dividemix"])


@cache
def noisy(n=600, seed=0):
    """Three blobs, 40 % of the labels drawn anew from the other classes; and as many clean ones to test on."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 2 * n)
    x = (rng.normal(size=(2 * n, 5)) + 3 * np.eye(3, 5)[truth]).astype(np.float32)
    given = np.where(rng.random(2 * n) < 0.4, (truth + rng.integers(1, 3, 2 * n)) % 3, truth)
    part = from_arrays(x[:n], given[:n])
    return part, truth[:n], {"test": (torch.from_numpy(x[n:]), torch.from_numpy(truth[n:]))}


def settings(method, **options):
    return train.Settings(**({"method": method, "network": "mlp:64", "lr": 0.1} | options)).resolve(600, "cpu")


@methods
def test_it_beats_the_last_epoch_of_plain_training(method):
    part, truth, test = noisy()
    plain = fit(part, settings("cross-entropy"), evaluations=test)
    fitted = fit(part, settings(method), evaluations=test)
    assert fitted.curves[-1]["test_accuracy"] > plain.curves[-1]["test_accuracy"] + 0.05
    right = fitted.targets.refined().argmax(-1) == torch.from_numpy(truth)
    assert right.float().mean() > 0.85


@pytest.mark.parametrize(
    ("method", "options"), [("co-teaching", {}), ("co-teaching", {"noise_rate": 0.4}), ("dividemix", {})]
)
def test_a_stopped_run_goes_on_to_the_same_weights(method, options, tmp_path, monkeypatch):
    part = noisy()[0]
    chosen = settings(method, epochs=5, batch_size=100, network="mlp:8", **options)
    whole = fit(part, chosen)
    trainings = 0

    class StopError(Exception):
        pass

    def stop(event):
        nonlocal trainings
        trainings += isinstance(event, RunStarted)
        last = trainings == (2 if method == "co-teaching" and not options else 1)
        if last and isinstance(event, BatchDone) and (event.epoch, event.step) == (3, 4):
            raise StopError

    monkeypatch.setattr(_checkpoint_manager, "_CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(StopError):
        fit(part, chosen, tell=stop, checkpoints=tmp_path / "c")
    again = fit(part, chosen, checkpoints=tmp_path / "c")
    for part_of in ("model", "targets"):
        a, b = (getattr(fitted, part_of).state_dict() for fitted in (again, whole))
        assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_known_noise_rate_needs_no_training_before():
    part = noisy()[0]
    heard = []
    fitted = fit(part, settings("co-teaching", epochs=2, noise_rate=0.95), tell=heard.append)
    assert sum(isinstance(event, RunStarted) for event in heard) == 1
    assert fitted.targets.noise_rate == pytest.approx(0.9)
    heard.clear()
    fitted = fit(part, settings("co-teaching", epochs=12), tell=heard.append)
    assert sum(isinstance(event, RunStarted) for event in heard) == 2
    assert fitted.targets.noise_rate == pytest.approx(0.4, abs=0.2)  # 60 labels are asked


def test_a_pair_of_ones_own_lends_a_network_to_the_training_before():
    part = noisy()[0]
    pair = Pair(torch.nn.Linear(5, 3), torch.nn.Linear(5, 3))
    fitted = fit(part, settings("co-teaching", epochs=2), model=pair)
    assert fitted.model is pair
    fit(part, settings("co-teaching", epochs=1, network="2*mlp:8"))


def test_augmented_images_give_two_views():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40)
    x = rng.integers(0, 128, (40, 3, 16, 16)) + 100 * y[:, None, None, None]
    part = from_arrays(x.astype(np.uint8), y)
    chosen = train.Settings(method="dividemix", network="cnn", epochs=2, batch_size=8).resolve(40, "cpu")
    fitted = fit(part, chosen)
    assert np.isfinite(fitted.curves[-1]["loss"])
