"""Decoupled distillation against the paper's formulas in a loop, and against the divergence that they split."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import kl_div

from selfdistill.losses import cross_entropy
from selfdistill.losses._distillation import DecoupledTarget, decoupled_distillation


def draw(seed=0, b=6, k=5, scale=3.0):
    g = torch.Generator().manual_seed(seed)
    z, v = torch.randn(2, b, k, generator=g, dtype=torch.float64) * scale
    return z, v, torch.eye(k, dtype=torch.float64)[torch.randint(0, k, (b,), generator=g)]


def softmax(values, t):
    shares = [math.exp(x / t) for x in values]
    return [s / sum(shares) for s in shares]


def naive(z, v, y, t, alpha, beta):
    """Eq. 1, 2, 6 and 7, with exponentials as they stand there."""
    y = y.index(1.0)
    p, q = softmax(z, t), softmax(v, t)
    tckd = q[y] * math.log(q[y] / p[y]) + (1 - q[y]) * math.log((1 - q[y]) / (1 - p[y]))
    others = [c for c in range(len(z)) if c != y]
    p_hat, q_hat = ({c: one[c] / sum(one[i] for i in others) for c in others} for one in (p, q))
    nckd = sum(q_hat[c] * math.log(q_hat[c] / p_hat[c]) for c in others)
    return -math.log(softmax(z, 1.0)[y]) + t * t * (alpha * tckd + beta * nckd)


@pytest.mark.parametrize("numbers", [(4.0, 1.0, 8.0), (1.0, 0.0, 2.0), (0.5, 3.0, 0.0)])
@pytest.mark.parametrize("k", [2, 5])
def test_equals_the_papers_formulas(numbers, k):
    z, v, y = draw(k=k)
    slow = [naive(*map(torch.Tensor.tolist, row), *numbers) for row in zip(z, v, y, strict=True)]
    torch.testing.assert_close(decoupled_distillation(z, DecoupledTarget(v, y, *numbers)), torch.tensor(slow).double())


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_with_the_teachers_own_weight_the_parts_are_the_usual_divergence(t):
    z, v, y = draw(1)
    share = 1 - ((v / t).softmax(-1) * y).sum(-1)
    whole = kl_div((z / t).log_softmax(-1), (v / t).softmax(-1), reduction="none").sum(-1)
    for i in range(len(z)):
        rows = slice(i, i + 1)
        parts = decoupled_distillation(z[rows], DecoupledTarget(v[rows], y[rows], t, 1.0, share[i].item()))
        torch.testing.assert_close(parts - cross_entropy(z[rows], y[rows]), t * t * whole[rows])


def test_gradients_and_logits_of_ten_thousand():
    z, v, y = draw(2, b=3)
    of = lambda x: decoupled_distillation(x, DecoupledTarget(v, y, 4.0, 1.0, 8.0))
    assert torch.autograd.gradcheck(of, z.requires_grad_())
    huge = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = decoupled_distillation(huge, DecoupledTarget(-huge.detach(), torch.eye(3)[:1], 4.0, 1.0, 8.0))
    (slope,) = torch.autograd.grad(value.sum(), huge)
    assert value.isfinite().all()
    assert slope.isfinite().all()


def test_a_student_as_its_teacher_pays_for_the_label_alone():
    z, _, y = draw(3)
    torch.testing.assert_close(decoupled_distillation(z, DecoupledTarget(z + 5, y, 4.0, 1.0, 8.0)), cross_entropy(z, y))
