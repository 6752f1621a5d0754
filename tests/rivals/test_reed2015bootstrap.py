"""Bootstrapping: its limits, and that the soft form does more than shorten the step."""

from __future__ import annotations

import torch

from selfdistill.losses import cross_entropy
from selfdistill.rivals.reed2015bootstrap import bootstrap_hard, bootstrap_soft


def some(b=6, k=4):
    g = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(b, k, generator=g, dtype=torch.float64)
    return z, torch.eye(k, dtype=torch.float64)[torch.randint(0, k, (b,), generator=g)]


def gradient(loss, z):
    z = z.clone().requires_grad_()
    loss(z).sum().backward()
    return z.grad


def test_with_all_weight_on_the_given_label_both_are_cross_entropy():
    z, t = some()
    for loss in (bootstrap_soft, bootstrap_hard):
        torch.testing.assert_close(loss(z, t, 1.0), cross_entropy(z, t))
        torch.testing.assert_close(gradient(lambda x, f=loss: f(x, t, 1.0), z), z.softmax(-1) - t)


def test_soft_is_cross_entropy_with_a_price_on_entropy():
    z, t = some()
    entropy = torch.distributions.Categorical(logits=z).entropy()
    torch.testing.assert_close(bootstrap_soft(z, t, 0.6), 0.6 * cross_entropy(z, t) + 0.4 * entropy)


def test_soft_is_differentiated_through_its_own_prediction():
    """dH/dz = -p (log p + H); a constant prediction would leave (p - t) times the weight alone."""
    z, t = some()
    p = z.softmax(-1)
    entropy = -(p * p.log()).sum(-1, keepdim=True)
    expected = 0.95 * (p - t) - 0.05 * p * (p.log() + entropy)
    torch.testing.assert_close(gradient(lambda x: bootstrap_soft(x, t), z), expected)
    assert (expected - 0.95 * (p - t)).abs().max() > 1e-3


def test_hard_pulls_to_the_mixture_of_given_and_predicted_class():
    z, t = some()
    own = torch.eye(4, dtype=torch.float64)[z.argmax(-1)]
    torch.testing.assert_close(gradient(lambda x: bootstrap_hard(x, t), z), z.softmax(-1) - 0.8 * t - 0.2 * own)
