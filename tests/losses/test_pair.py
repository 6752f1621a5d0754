"""Two networks' cross-entropy is that of each."""

from __future__ import annotations

import torch

from selfdistill.losses import cross_entropy, each_cross_entropy, pair_cross_entropy


def test_each_is_the_cross_entropy_of_one_network_and_the_pair_their_sum():
    g = torch.Generator().manual_seed(0)
    logits, target = torch.randn(5, 2, 4, generator=g).mul(9), torch.randn(5, 4, generator=g).softmax(-1)
    both = torch.stack([cross_entropy(logits[:, j], target) for j in (0, 1)], 1)
    torch.testing.assert_close(each_cross_entropy(logits, target), both)
    torch.testing.assert_close(pair_cross_entropy(logits, target), both.sum(1))


def test_half_precision_is_lifted_and_large_logits_stay_finite():
    logits = torch.tensor([[[1e4, -1e4], [-1e4, 1e4]]], dtype=torch.bfloat16, requires_grad=True)
    value = pair_cross_entropy(logits, torch.tensor([[0.0, 1.0]]))
    value.sum().backward()
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()
