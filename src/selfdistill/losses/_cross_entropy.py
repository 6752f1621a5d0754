"""Cross-entropy and Kullback-Leibler divergence against a distribution."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from selfdistill.losses._precision import at_least_single

__all__ = ["cross_entropy", "kl_divergence", "label_cross_entropy"]


def cross_entropy(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Cross-entropy between a target distribution and the network's.

    .. math:: -\sum_c t_c \log \mathrm{softmax}(z)_c

    Args:
        logits: Network outputs z, ``[b, K]``.
        target: Distributions t, rows sum to 1.

    Returns:
        One value per example, in nats.

    Example:
        >>> cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]])).exp().round().item()
        4.0
    """
    log_p = at_least_single(logits).log_softmax(-1)
    return -(target * log_p).sum(-1)


def label_cross_entropy(logits: Float[Tensor, "b k"], labels: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Cross-entropy to one label each: what `cross_entropy` gives for one-hot rows, bit for bit, in fewer kernels.

    .. math:: -\log \mathrm{softmax}(z)_y

    Args:
        logits: Network outputs z, ``[b, K]``.
        labels: Classes y in [0, K).

    Returns:
        One value per example, in nats.

    Example:
        >>> label_cross_entropy(torch.zeros(1, 4), torch.tensor([0])).exp().round().item()
        4.0
    """
    return functional.cross_entropy(at_least_single(logits), labels, reduction="none")


def kl_divergence(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Kullback-Leibler divergence from the network's distribution to the target.

    .. math:: \mathrm{KL}(t \,\|\, p) = \sum_c t_c (\log t_c - \log p_c), \qquad p = \mathrm{softmax}(z)

    Its gradient in the logits is that of `cross_entropy`: the entropy of the target is a constant.

    Args:
        logits: Network outputs z, ``[b, K]``.
        target: Distributions t, rows sum to 1; zeros are legal.

    Returns:
        One value per example, in nats, at least 0 up to rounding.

    Example:
        >>> z = torch.tensor([[2.0, 0.0]])
        >>> abs(kl_divergence(z, z.softmax(-1)).item()) < 1e-6
        True
    """
    negative_entropy: Tensor = torch.special.xlogy(target, target).sum(-1)
    return cross_entropy(logits, target) + negative_entropy
