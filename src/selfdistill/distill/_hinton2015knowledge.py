"""Soft targets with a temperature beside the given labels (Hinton, Vinyals & Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor

from selfdistill.losses import Softened

__all__ = ["softened"]


def softened(given: Tensor, teacher: Tensor, *, temperature: float, weight: float) -> Softened:
    """Lay the teacher's logits beside the given labels, for `losses.distillation`.

    Args:
        given: Given labels as distributions, ``[b, K]``.
        teacher: The teacher's logits, ``[b, K]``.
        temperature: T, above 0.
        weight: The teacher's share, in [0, 1].

    Returns:
        What the loss takes.

    References:
        Hinton, Vinyals & Dean (2015), arXiv 1503.02531, section 2.
    """
    return Softened(teacher, given, temperature, weight)
