"""Standardised logits against the paper's algorithms in a loop; whatever size and offset a student has."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch.nn.functional import kl_div

from selfdistill.losses import cross_entropy
from selfdistill.losses._distillation import TemperatureTarget, standardised_distillation


def draw(seed=0, b=6, k=5):
    g = torch.Generator().manual_seed(seed)
    z, v = torch.randn(2, b, k, generator=g, dtype=torch.float64) * 3
    return z, v, torch.eye(k, dtype=torch.float64)[torch.randint(0, k, (b,), generator=g)]


def weighted_z_score(x, t):
    """Algorithm 1."""
    mean, std = statistics.fmean(x), statistics.pstdev(x)
    return torch.tensor([(one - mean) / std / t for one in x], dtype=torch.float64)


@pytest.mark.parametrize(("t", "w"), [(2.0, 0.9), (1.0, 1.0), (4.0, 0.3)])
def test_equals_the_papers_algorithms_but_for_the_teachers_entropy(t, w):
    z, v, y = draw()
    for a, b, c in zip(z, v, y, strict=True):
        p, q = weighted_z_score(a.tolist(), t).log_softmax(-1), weighted_z_score(b.tolist(), t).softmax(-1)
        divergence, entropy = kl_div(p, q, reduction="sum"), torch.special.entr(q).sum()
        wanted = w * t * t * (divergence + entropy) + (1 - w) * cross_entropy(a[None], c[None])[0]
        got = standardised_distillation(a[None], TemperatureTarget(b[None], c[None], t, w))[0]
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_size_and_offset_of_either_sides_logits_do_not_matter():
    z, v, y = draw(1)
    one = standardised_distillation(z, TemperatureTarget(v, y, 2.0, 1.0))
    torch.testing.assert_close(
        standardised_distillation(7 * z - 3, TemperatureTarget(0.2 * v + 9, y, 2.0, 1.0)), one, rtol=1e-4, atol=0
    )


def test_gradients_are_finite_where_logits_are_huge_or_all_alike():
    z, v, y = draw(2, b=3)
    assert torch.autograd.gradcheck(
        lambda x: standardised_distillation(x, TemperatureTarget(v, y, 2.0, 0.9)), z.requires_grad_()
    )
    for row in ([1e4, -1e4, 0.0], [2.0, 2.0, 2.0]):
        odd = torch.tensor([row], requires_grad=True)
        value = standardised_distillation(
            odd, TemperatureTarget(torch.tensor([[1.0, 0.0, 2.0]]), torch.eye(3)[:1], 2.0, 0.9)
        )
        (slope,) = torch.autograd.grad(value.sum(), odd)
        assert value.isfinite().all()
        assert slope.isfinite().all()
