"""Cross-entropy of two networks that train side by side."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["each_cross_entropy", "pair_cross_entropy"]


def each_cross_entropy(logits: Float[Tensor, "b 2 k"], target: Float[Tensor, "b k"]) -> Float[Tensor, "b 2"]:
    """Cross-entropy of each of two networks.

    Args:
        logits: Outputs of both networks, ``[b, 2, K]``.
        target: Distributions, rows sum to 1.

    Returns:
        One value per example and network, in nats.

    Example:
        >>> import torch
        >>> each_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[1.0, 0, 0, 0]])).exp().round().tolist()
        [[4.0, 4.0]]
    """
    return -(target[:, None] * at_least_single(logits).log_softmax(-1)).sum(-1)


def pair_cross_entropy(logits: Float[Tensor, "b 2 k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Sum of the cross-entropies of two networks: each gets the gradient that it would get alone.

    Args:
        logits: Outputs of both networks, ``[b, 2, K]``.
        target: Distributions, rows sum to 1.

    Returns:
        One value per example, in nats.

    Example:
        >>> import torch
        >>> pair_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[1.0, 0, 0, 0]])).exp().round().item()
        16.0
    """
    return each_cross_entropy(logits, target).sum(1)
