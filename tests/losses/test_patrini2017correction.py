"""The two theorems of loss correction, and their limits."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.losses import backward_corrected, cross_entropy, forward_corrected


def noise_of(k, seed):
    g = torch.Generator().manual_seed(seed)
    return 0.5 * torch.eye(k, dtype=torch.float64) + 0.5 * torch.randn(k, k, generator=g).double().softmax(-1)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=25)
def test_backward_is_unbiased(seed, k):
    """Theorem 1: the mean over given labels drawn from T, weight by weight, is the loss on the clean label."""
    noise = noise_of(k, seed)
    z = torch.randn(1, k, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    inverse = torch.linalg.inv(noise)
    for clean in range(k):
        mean = sum(noise[clean, given] * backward_corrected(z, inverse[None, given]) for given in range(k))
        torch.testing.assert_close(mean, cross_entropy(z, torch.eye(k, dtype=torch.float64)[None, clean]))


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=10)
def test_forward_has_the_minimiser_of_the_clean_loss(seed, k):
    """Theorem 2: where labels of an example follow q T, gradient descent on the expected loss ends at q."""
    noise = noise_of(k, seed)
    q = torch.randn(k, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64).softmax(-1)
    given_share = q @ noise
    z = torch.zeros(k, k, dtype=torch.float64, requires_grad=True)  # the same logits for each given label
    optimizer = torch.optim.LBFGS(
        [z], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = (given_share * forward_corrected(z.mean(0).expand(k, k), noise.T)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(z.mean(0).softmax(-1), q, atol=1e-4, rtol=0)


def test_without_noise_both_are_cross_entropy():
    z = torch.tensor([[1.0, -2.0, 0.5], [30.0, 0.0, -30.0]], dtype=torch.float64)
    t = torch.eye(3, dtype=torch.float64)[[1, 2]]
    torch.testing.assert_close(forward_corrected(z, t), cross_entropy(z, t))
    torch.testing.assert_close(backward_corrected(z[:1], t[:1]), cross_entropy(z[:1], t[:1]))


def test_forward_goes_on_exactly_where_probabilities_underflow():
    z = torch.tensor([[0.0, 5000.0, -5000.0]], dtype=torch.float64)
    likelihood = torch.tensor([[0.75, 0.0, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(forward_corrected(z, likelihood).item(), 5000 - math.log(0.75))


def test_backward_is_bounded_though_its_weights_are_negative():
    z = torch.tensor([[9e3, -9e3]], requires_grad=True)
    value = backward_corrected(z, torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(value.item(), 2 * math.log(1e-7), rtol=1e-5, atol=0)
