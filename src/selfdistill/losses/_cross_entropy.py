"""Cross-entropy and its relatives: to a distribution, to one label, of two networks, generalized; and KL divergence."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from selfdistill._core.errors import SettingError


def at_least_single(logits: Tensor) -> Tensor:
    """Lift half precision to float32 and leave float32 and float64 as they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def refuse_graph(grad: Tensor | None) -> None:
    """Refuse a gradient of the gradient: slopes are constants to autograd, so that it would be wrong."""
    if torch.is_grad_enabled():
        raise SettingError(
            "the loss has first derivatives only, but a graph of its gradient was asked for (create_graph=True)",
            "Compute what needs second derivatives, such as a gradient penalty, with losses.cross_entropy.",
        )


class KnownGradient(torch.autograd.Function):
    """A value per row whose gradient is known: one tensor is kept for backward, and no operation is traced."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        refuse_graph(grad)
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], None, None


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
    """Cross-entropy to one label each: what `cross_entropy` gives for one-hot rows, bit for bit, in fewer kernels."""
    # -\log \mathrm{softmax}(z)_y
    return functional.cross_entropy(at_least_single(logits), labels, reduction="none")


def each_cross_entropy(logits: Float[Tensor, "b 2 k"], target: Float[Tensor, "b k"]) -> Float[Tensor, "b 2"]:
    """Cross-entropy of each of two networks."""
    return -(target[:, None] * at_least_single(logits).log_softmax(-1)).sum(-1)


def pair_cross_entropy(logits: Float[Tensor, "b 2 k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Sum of the cross-entropies of two networks: each gets the gradient that it would get alone."""
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
