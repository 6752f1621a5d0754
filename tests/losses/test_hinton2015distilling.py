"""Distillation with a temperature, against a loop over classes, its limits, and differences of numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import kl_div

from selfdistill.losses import cross_entropy
from selfdistill.losses._distillation import TemperatureTarget, distillation

K, B = 5, 7


def draw(seed=0):
    g = torch.Generator().manual_seed(seed)
    z, v = torch.randn(2, B, K, generator=g, dtype=torch.float64) * 3
    given = torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (B,), generator=g)]
    return z, v, given


def naive(z, v, y, t, w):
    def softmax(values):
        top = max(values)
        shares = [math.exp(x - top) for x in values]
        return [s / sum(shares) for s in shares]

    q, p, plain = softmax([x / t for x in v]), softmax([x / t for x in z]), softmax(z)
    taught = -sum(a * math.log(b) for a, b in zip(q, p, strict=True))
    return w * t * t * taught - (1 - w) * sum(a * math.log(b) for a, b in zip(y, plain, strict=True))


@pytest.mark.parametrize(("t", "w"), [(1.0, 1.0), (4.0, 0.9), (0.5, 0.3), (20.0, 0.0)])
def test_equals_a_loop_over_classes(t, w):
    z, v, y = draw()
    slow = torch.tensor([naive(*map(torch.Tensor.tolist, row), t, w) for row in zip(z, v, y, strict=True)])
    torch.testing.assert_close(distillation(z, TemperatureTarget(v, y, t, w)), slow.double(), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_torchs_divergence_times_t_squared():
    z, v, y = draw(1)
    for t in (1.0, 3.0, 10.0):
        a, b = (z.clone().requires_grad_() for _ in range(2))
        distillation(a, TemperatureTarget(v, y, t, 1.0)).sum().backward()
        (t * t * kl_div((b / t).log_softmax(-1), (v / t).log_softmax(-1), reduction="sum", log_target=True)).backward()
        torch.testing.assert_close(a.grad, b.grad)


def test_at_a_high_temperature_it_matches_centred_logits():
    z, v, y = draw(2)
    z, v = z - z.mean(-1, keepdim=True), v - v.mean(-1, keepdim=True)
    z = z.requires_grad_()
    distillation(z, TemperatureTarget(v, y, 1e4, 1.0)).sum().backward()
    torch.testing.assert_close(z.grad, (z.detach() - v) / K, rtol=2e-3, atol=1e-4)


def test_weight_0_is_plain_training_and_large_logits_stay_finite():
    z, v, y = draw(3)
    torch.testing.assert_close(distillation(z, TemperatureTarget(v, y, 4.0, 0.0)), cross_entropy(z, y))
    huge = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = distillation(huge, TemperatureTarget(-huge.detach(), torch.eye(3)[:1], 2.0, 0.5))
    value.sum().backward()
    assert value.isfinite().all()
    assert huge.grad is not None
    assert huge.grad.isfinite().all()
