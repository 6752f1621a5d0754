"""Labels of joint optimisation against a list of all predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.rivals.tanaka2018joint import JointLabels, joint_optimization

N, K = 8, 3


@pytest.mark.parametrize(("epochs", "begin", "width"), [(20, 7, 1), (60, 21, 3), (40, 14, 2), (1, 1, 1), (200, 70, 10)])
def test_equals_a_list_of_all_predictions(epochs, begin, width):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    history = rng.dirichlet(np.ones(K), (epochs, N))
    targets = JointLabels(torch.from_numpy(labels), K, epochs=epochs)
    for k, p in enumerate(torch.from_numpy(history).float()):
        expected = history[k - width : k].mean(0) if k >= begin else np.eye(K)[labels]
        np.testing.assert_allclose(targets.read(torch.arange(N)).target, expected, rtol=1e-4, atol=1e-6)
        for index in torch.from_numpy(rng.permutation(N)).split(3):
            targets.write(index, p[index])
        targets.end_epoch()
    np.testing.assert_allclose(targets.refined(), history[-width:].mean(0), rtol=1e-4, atol=1e-6)


def test_the_prior_is_that_of_the_given_labels():
    targets = JointLabels(torch.tensor([2, 0, 2, 2]), 4, epochs=1)
    assert targets.read(torch.tensor([0])).prior.tolist() == [0.25, 0.0, 0.75, 0.0]


def test_an_example_that_is_not_written_keeps_its_label():
    targets = JointLabels(torch.tensor([0, 1]), 2, epochs=1)
    targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
    targets.end_epoch()
    assert targets.refined().tolist() == [[0.25, 0.75], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 9, "begin": 2.0}, "begin is 2.0"),
        ({"epochs": 9, "window": -1.0}, "window"),
    ],
)
def test_errors(kwargs, words):
    with pytest.raises(SettingError, match=words):
        JointLabels(torch.tensor([0]), 2, **kwargs)


def twin(z, t, prior, alpha, beta):
    """The mean over the batch, as the paper has it."""
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    mean = p.mean(0)
    labels = sum(tc * math.log(tc / pc) for row, q in zip(t, p, strict=True) for tc, pc in zip(row, q, strict=True))
    spread = sum(a * math.log(a / b) for a, b in zip(prior, mean, strict=True))
    entropy = -sum(pc * math.log(pc) for q in p for pc in q)
    return labels / len(z) + alpha * spread + beta * entropy / len(z)


@pytest.mark.parametrize(("alpha", "beta"), [(1.2, 0.8), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_mean_over_the_batch_is_that_of_a_loop(alpha, beta):
    rng = np.random.default_rng(0)
    z, t, prior = rng.normal(0, 2, (7, 4)), rng.dirichlet(np.ones(4), 7), rng.dirichlet(np.ones(4))
    got = joint_optimization(torch.tensor(z), (torch.tensor(t), torch.tensor(prior)), alpha, beta)
    assert got.mean().item() == pytest.approx(twin(z, t, prior, alpha, beta), rel=1e-12)


def test_it_is_nothing_where_sure_predictions_match_labels_and_prior():
    z = 100.0 * torch.eye(3)
    assert joint_optimization(z, (torch.eye(3), torch.full((3,), 1 / 3))).abs().max() < 1e-5


def test_all_examples_in_one_class_is_worse_than_spread_and_finite_at_any_logits():
    """The trivial solution that the paper's prior is there to rule out: every label one class, every prediction it."""
    prior = torch.tensor([0.5, 0.5])
    collapsed = torch.tensor([[1e4, -1e4]]).repeat(4, 1).requires_grad_()
    value = joint_optimization(collapsed, (torch.tensor([[1.0, 0.0]]).repeat(4, 1), prior))
    spread = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    assert (value > joint_optimization(spread, (spread.softmax(-1), prior))).all()
    value.mean().backward()
    assert value.isfinite().all()
    assert collapsed.grad.isfinite().all()
    assert (collapsed.grad[:, 1] < 0).all()  # descent raises the class that nothing is taken for


def test_gradient_equals_finite_differences_over_a_batch():
    torch.manual_seed(0)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t = torch.randn(3, 4, dtype=torch.float64).softmax(-1)
    assert torch.autograd.gradcheck(lambda x: joint_optimization(x, (t, t[0])), z)
