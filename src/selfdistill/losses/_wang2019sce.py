"""Symmetric cross-entropy (Wang et al. 2019, arXiv 1908.06112)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._cross_entropy import cross_entropy
from selfdistill.losses._precision import at_least_single

__all__ = ["symmetric_cross_entropy"]


def symmetric_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> Float[Tensor, " b"]:
    r"""Cross-entropy plus reverse cross-entropy.

    .. math:: \alpha\, H(t, p) + \beta\, H(p, t), \qquad H(p, t) = -\sum_c p_c \max(\log t_c, A)

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.
        alpha: Weight of cross-entropy; the paper's CIFAR-10 value is 0.1.
        beta: Weight of reverse cross-entropy.
        log_zero: A, what stands for log 0; the paper's is −4.

    Returns:
        One value per example.

    References:
        Wang et al. (2019), arXiv 1908.06112, eq. 8.

    Example:
        >>> import torch
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(symmetric_cross_entropy(torch.zeros(1, 2), t, alpha=0.0).item(), 4)
        2.0
    """
    reverse = -(at_least_single(logits).softmax(-1) * target.log().clamp(min=log_zero)).sum(-1)
    return alpha * cross_entropy(logits, target) + beta * reverse
