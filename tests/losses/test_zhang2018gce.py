"""Generalized cross-entropy and its truncated form at the limits that the paper states."""

from __future__ import annotations

import pytest
import torch

from selfdistill.losses import (
    cross_entropy,
    generalized_cross_entropy,
    symmetric_cross_entropy,
    truncated_cross_entropy,
)

K = 5


def some(b=8):
    g = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(b, K, generator=g, dtype=torch.float64)
    return z, torch.eye(K, dtype=torch.float64)[torch.randint(0, K, (b,), generator=g)]


def test_from_cross_entropy_to_mean_absolute_error():
    z, t = some()
    torch.testing.assert_close(generalized_cross_entropy(z, t, 1e-9), cross_entropy(z, t), rtol=1e-6, atol=1e-8)
    absolute = (z.softmax(-1) - t).abs().sum(-1)
    torch.testing.assert_close(generalized_cross_entropy(z, t, 1.0), absolute / 2)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_sum_over_all_labels_is_bounded(q):
    """Lemma 1: between (K - K^(1-q))/q and (K - 1)/q, the same at q = 1, which makes the loss robust."""
    z, _ = some()
    total = sum(generalized_cross_entropy(z, torch.eye(K, dtype=torch.float64)[[j] * len(z)], q) for j in range(K))
    assert (total >= (K - K ** (1 - q)) / q - 1e-12).all()
    assert (total <= (K - 1) / q + 1e-12).all()


def test_the_gradient_is_that_of_cross_entropy_weighted_by_p_to_the_q():
    z, t = some()
    z.requires_grad_()
    generalized_cross_entropy(z, t).sum().backward()
    p = z.detach().softmax(-1)
    torch.testing.assert_close(z.grad, (p * t).sum(-1, keepdim=True) ** 0.7 * (p - t))


def test_with_the_kept_set_of_these_predictions_it_is_the_truncated_loss():
    z, t = some()
    kept = (z.softmax(-1) * t).sum(-1) > 0.5
    full, cut = generalized_cross_entropy(z, t), (1 - 0.5**0.7) / 0.7
    assert 0 < kept.sum() < len(kept)
    torch.testing.assert_close(truncated_cross_entropy(z, t, kept), full.clamp(max=cut))
    everything = torch.ones_like(kept)
    torch.testing.assert_close(truncated_cross_entropy(z, t, everything), full)


def test_dropped_examples_do_not_pull():
    z, t = some()
    z.requires_grad_()
    kept = torch.arange(len(z)) % 2 == 0
    truncated_cross_entropy(z, t, kept).sum().backward()
    assert (z.grad[~kept] == 0).all()
    assert (z.grad[kept] != 0).any()


def test_reverse_cross_entropy_at_minus_two_is_mean_absolute_error():
    """As Wang et al. 2019 state."""
    z, t = some()
    reverse = symmetric_cross_entropy(z, t, alpha=0.0, log_zero=-2.0)
    torch.testing.assert_close(reverse, (z.softmax(-1) - t).abs().sum(-1))
