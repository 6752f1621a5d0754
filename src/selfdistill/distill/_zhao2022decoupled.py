"""The given class and the others, each with a weight of its own (Zhao et al. 2022, arXiv 2203.08679)."""

from __future__ import annotations

from torch import Tensor

from selfdistill.losses import Decoupled

__all__ = ["decoupled"]


def decoupled(given: Tensor, teacher: Tensor, *, temperature: float, alpha: float, beta: float) -> Decoupled:
    """Lay the teacher's logits beside the given labels, for `losses.decoupled_distillation`.

    Args:
        given: Given labels as one-hot rows, ``[b, K]``.
        teacher: The teacher's logits, ``[b, K]``.
        temperature: T, above 0.
        alpha: Weight of the given class against the rest.
        beta: Weight of the others among themselves.

    Returns:
        What the loss takes.

    References:
        Zhao, Cui, Song, Qiu & Liang (2022), arXiv 2203.08679.
    """
    return Decoupled(teacher, given, temperature, alpha, beta)
