"""Methods that refine targets: what they build, what they learn from noisy labels, and that they go on alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill import train
from selfdistill._core.labels import held_out
from selfdistill.data._source import from_arrays
from selfdistill.rivals._method import Context
from selfdistill.train import _checkpoint_manager
from selfdistill.train._fit import fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._methods import METHODS
from selfdistill.train._runtime import TorchRuntime

# By how much each is better than cross-entropy at the least, in accuracy on clean examples, on the blobs below.
GAINS = {"elr": 0.1, "sat": 0.02, "selc": 0.02, "sop": 0.1, "ps-kd": 0.0, "joint-optimization": 0.1, "nts": 0.05}
TWICE = ("joint-optimization", "nts")


def noisy(n=600, k=4, seed=0):
    """Blobs with 40 % of the labels changed to another, and a clean test set of the same."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    x = rng.normal(0, 0.7, (n, 8)) + 2.2 * np.eye(k, 8)[y]
    given = np.where(rng.random(n) < 0.4, (y + rng.integers(1, k, n)) % k, y)
    return from_arrays(x.astype(np.float32), given, truth=y), torch.from_numpy(x).float(), torch.from_numpy(y)


def settings(method, n, **kwargs):
    return train.Settings(**({"method": method, "network": "mlp:64", "epochs": 30, "lr": 0.1} | kwargs)).resolve(
        n, "cpu"
    )


def accuracy(fitted, x, y):
    p = predict_probabilities(fitted.model, x, TorchRuntime())
    return (p.argmax(-1) == y).float().mean().item()


@pytest.fixture(scope="module")
def plain():
    part, _, _ = noisy()
    _, x, y = noisy(2000, seed=1)
    return part, x, y, accuracy(fit(part, settings("cross-entropy", len(part))), x, y)


@pytest.mark.parametrize("method", GAINS)
def test_learns_more_of_the_truth_than_cross_entropy_does(plain, method):
    part, x, y, base = plain
    fitted = fit(part, settings(method, len(part)))
    assert accuracy(fitted, x, y) > base + GAINS[method]
    refined = fitted.targets.refined().argmax(-1)
    _, _, truth = noisy()
    assert (refined == truth).float().mean() > 0.7  # of the given labels, 0.6 are right


def test_shares_of_the_epochs_are_the_published_epochs_of_their_schedules():
    build = lambda name: METHODS[name].build(Context(torch.tensor([0, 1]), 2, 200, 10))
    assert build("sat").start == 60
    assert build("selc").start == 30
    joint = build("joint-optimization-labels")
    assert (joint.begin, len(joint.recent)) == (70, 10)
    assert build("sop").step_u * 128 * 200 == pytest.approx(10 * 120)


def test_joint_optimization_trains_twice_and_the_second_on_the_first_ones_labels():
    part, _, _ = noisy(120)
    heard = []
    chosen = settings("joint-optimization", len(part), epochs=4)
    fitted = fit(part, chosen, tell=heard.append)
    assert [type(e).__name__ for e in heard].count("EpochDone") == 8
    alone = fit(part, settings("joint-optimization-labels", len(part), epochs=4))
    torch.testing.assert_close(fitted.targets.target, alone.targets.refined())


def test_the_student_learns_the_teachers_hard_predictions_on_the_teachers_examples():
    part, _, _ = noisy(200)
    fitted = fit(part, settings("nts", len(part), epochs=6))
    teacher = fit(part, settings("early-stopping", len(part), epochs=6))
    hard = predict_probabilities(teacher.model, part.inputs, TorchRuntime()).argmax(-1)
    assert torch.equal(fitted.targets.target, torch.eye(4)[hard])
    drawn, _ = held_out(part.labels, 0.1, fitted.settings.seed)
    assert torch.equal(drawn, held_out(part.labels, METHODS["early-stopping"].held_out, 0)[0])
    best = max(epoch["held_out_accuracy"] for epoch in fitted.curves)
    assert fitted.curves[fitted.kept_epoch - 1]["held_out_accuracy"] == best


@pytest.mark.parametrize(("method", "stop_in"), [(name, 1) for name in GAINS] + [(name, 5) for name in TWICE])
def test_a_stopped_run_ends_like_one_left_alone(method, stop_in, tmp_path, monkeypatch):
    """Stopped in the second epoch; of two trainings, in the first one and in the second one."""
    part, _, _ = noisy(120)
    chosen = settings(method, len(part), epochs=4, network="mlp:16")
    whole, done = fit(part, chosen), 0

    class StopError(Exception):
        pass

    def stop(event):
        nonlocal done
        done += type(event).__name__ == "EpochDone"
        if done == stop_in + 1:
            raise StopError

    monkeypatch.setattr(_checkpoint_manager, "_CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(StopError):
        fit(part, chosen, tell=stop, checkpoints=tmp_path / "c")
    again = fit(part, chosen, checkpoints=tmp_path / "c")
    for a, b in ((again.model, whole.model), (again.targets, whole.targets)):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y)
