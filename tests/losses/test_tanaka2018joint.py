"""The prior of joint optimisation is over a batch: against a loop over it, and what it does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfdistill.losses import joint_optimization


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
