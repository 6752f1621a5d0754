"""Mixtures with any weight: equal to cross-entropy inside, bounded outside, and nothing breaks when trained on."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill.losses import cross_entropy
from selfdistill.losses._distillation import mixed_cross_entropy

K = 4


def mixture(xi, seed=0, b=6):
    g = torch.Generator().manual_seed(seed)
    y = torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (b,), generator=g)]
    q = torch.randn(b, K, generator=g, dtype=torch.float64).mul(2).softmax(-1)
    return (1 - xi) * y + xi * q, torch.randn(b, K, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("xi", [0.0, 0.4, 1.0])
def test_between_0_and_1_it_is_cross_entropy(xi):
    t, z = mixture(xi)
    torch.testing.assert_close(mixed_cross_entropy(z, t), cross_entropy(z, t))


@pytest.mark.parametrize("xi", [-2.0, -0.5, 1.5, 5.0])
def test_outside_its_gradient_is_p_minus_t_and_its_value_that_of_a_loop(xi):
    t, z = mixture(xi)
    assert (t < 0).any()
    z.requires_grad_()
    value = mixed_cross_entropy(z, t)
    value.sum().backward()
    torch.testing.assert_close(z.grad, z.detach().softmax(-1) - t)
    slow = [
        -sum(a * math.log(b) for a, b in zip(*rows, strict=True))
        for rows in zip(t, z.detach().softmax(-1), strict=True)
    ]
    torch.testing.assert_close(value.detach(), torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize("xi", [-3.0, 4.0])
def test_it_has_a_least_value_where_cross_entropy_falls_without_end(xi):
    t, z = mixture(xi, b=3)
    values = []
    for loss in (mixed_cross_entropy, cross_entropy):
        w = z.clone().requires_grad_()
        optimizer = torch.optim.SGD([w], lr=1.0)
        for _ in range(3000):
            optimizer.zero_grad()
            loss(w, t).sum().backward()
            optimizer.step()
        assert w.isfinite().all()
        values.append(loss(w, t).detach())
    bound = math.log(1e-4) * -t.clamp(max=0).sum(-1)
    assert (values[0] >= bound).all()
    assert (values[1] < bound).all()


def test_finite_at_large_logits():
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    mixed_cross_entropy(z, torch.tensor([[3.0, -2.0], [3.0, -2.0]])).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
