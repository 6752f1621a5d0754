"""Generalized cross-entropy (Zhang & Sabuncu 2018, arXiv 1805.07836)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["generalized_cross_entropy", "truncated_cross_entropy"]


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
    return -(target * torch.expm1(q * at_least_single(logits).log_softmax(-1))).sum(-1) / q


def truncated_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    kept: Bool[Tensor, " b"],
    q: float = 0.7,
    threshold: float = 0.5,
) -> Float[Tensor, " b"]:
    r"""Generalized cross-entropy of the kept examples, and a constant for the others, which then pull no more.

    .. math:: w\, L_q(p) + (1 - w)\, \frac{1 - k^q}{q}

    With w = 1 exactly where the probability of the target is above k, this is the truncated loss
    :math:`\min(L_q(p), L_q(k))`.

    Cost: one pass, as cross-entropy.

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.
        kept: w, ``[b]``.
        q: In (0, 1]; 0.7 is the paper's.
        threshold: k in [0, 1); 0.5 is the paper's.

    Returns:
        One value per example, in [0, 1/q].

    References:
        Zhang & Sabuncu (2018), arXiv 1805.07836, section 3.3: the truncated loss and its alternating search over w.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> kept, dropped = torch.tensor([True]), torch.tensor([False])
        >>> [truncated_cross_entropy(torch.zeros(1, 2), t, w, 1.0, 0.75).item() for w in (kept, dropped)]
        [0.5, 0.25]
    """
    dropped = (1 - threshold**q) / q
    return torch.where(kept, generalized_cross_entropy(logits, target, q), dropped)
