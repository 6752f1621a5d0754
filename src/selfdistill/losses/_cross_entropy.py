"""Cross-entropy and its relatives: to a distribution, to one label, of two networks, generalized; and KL divergence."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from selfdistill._core.errors import SettingError

__all__ = [
    "at_least_single",
    "check_distribution",
    "cross_entropy",
    "each_cross_entropy",
    "generalized_cross_entropy",
    "kl_divergence",
    "label_cross_entropy",
    "pair_cross_entropy",
]


def at_least_single(logits: Tensor) -> Tensor:
    """Lift half precision to float32 and leave float32 and float64 as they are.

    Args:
        logits: Any floating-point tensor.

    Returns:
        The same values, float32 or float64.

    Example:
        >>> at_least_single(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_distribution(name: str, logits: Tensor, target: Any) -> None:
    """Refuse a target that belongs to another loss, or labels, which would be broadcast to something else."""
    if not isinstance(target, Tensor) or target.shape != logits.shape:
        shown = f"shape {list(target.shape)}" if isinstance(target, Tensor) else f"type {type(target).__name__}"
        raise SettingError(
            f"losses.{name} takes distributions of the logits' shape {list(logits.shape)}, but got a target of {shown}",
            "Take the loss that belongs to the target (PosteriorTarget: anchored_cross_entropy), or RobustTargets, "
            "which has both; labels become distributions with targets.GivenLabels.",
        )


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
    check_distribution("cross_entropy", logits, target)
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


def each_cross_entropy(logits: Float[Tensor, "b 2 k"], target: Float[Tensor, "b k"]) -> Float[Tensor, "b 2"]:
    """Cross-entropy of each of two networks.

    Args:
        logits: Outputs of both networks, ``[b, 2, K]``.
        target: Distributions, rows sum to 1.

    Returns:
        One value per example and network, in nats.

    Example:
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
        >>> pair_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[1.0, 0, 0, 0]])).exp().round().item()
        16.0
    """
    return each_cross_entropy(logits, target).sum(1)


def generalized_cross_entropy(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], q: float = 0.7
) -> Float[Tensor, " b"]:
    r"""Generalized cross-entropy, between cross-entropy (q → 0) and mean absolute error (q = 1).

    .. math:: L_q = \sum_c t_c \frac{1 - p_c^q}{q}

    Computed as ``-expm1(q log p) / q``, which keeps its digits where p is near 1.

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.
        q: In (0, 1]; 0.7 is the paper's.

    Returns:
        One value per example, in [0, 1/q].

    References:
        Zhang & Sabuncu (2018), arXiv 1805.07836, eq. 6.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(generalized_cross_entropy(torch.zeros(1, 2), t, q=1.0).item(), 4)
        0.5
    """
    check_distribution("generalized_cross_entropy", logits, target)
    return -(target * torch.expm1(q * at_least_single(logits).log_softmax(-1))).sum(-1) / q
