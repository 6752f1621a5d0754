"""Losses between layers, FitNets' hint and attention transfer, against their papers' formulas in loops."""

from __future__ import annotations

import math

import torch

from selfdistill.losses._distillation import attention_transfer, hint

G = torch.Generator().manual_seed(0)
S, T = (torch.randn(4, c, 3, 2, generator=G, dtype=torch.float64) for c in (5, 7))


def attention(layer):
    """Q = vec(F(A)) with F the sum of squares over channels, divided by its length."""
    c, h, w = layer.shape
    q = [sum(layer[k, i, j].item() ** 2 for k in range(c)) for i in range(h) for j in range(w)]
    return [one / math.sqrt(sum(x * x for x in q)) for one in q]


def test_attention_transfer_is_equation_2_with_p_2_and_beta_1():
    wanted = [math.dist(attention(a), attention(b)) / 2 for a, b in zip(S, T, strict=True)]
    torch.testing.assert_close(attention_transfer(S, T), torch.tensor(wanted, dtype=torch.float64))


def test_a_hint_is_half_the_squared_distance():
    other = S.flip(0)
    wanted = [math.dist(a.flatten().tolist(), b.flatten().tolist()) ** 2 / 2 for a, b in zip(S, other, strict=True)]
    torch.testing.assert_close(hint(S, other), torch.tensor(wanted, dtype=torch.float64))


def test_gradients_are_finite_at_the_teachers_own_layer_and_at_nothing():
    assert torch.autograd.gradcheck(lambda x: attention_transfer(x, T), S.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x: hint(x, S.flip(0)), S.clone().requires_grad_())
    for layer in (S, torch.zeros_like(S)):
        here = layer.clone().requires_grad_()
        (slope,) = torch.autograd.grad(attention_transfer(here, S).sum(), here)
        assert slope.isfinite().all()
