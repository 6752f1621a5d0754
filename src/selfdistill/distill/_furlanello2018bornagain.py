"""A mixture of given label and teacher, over generations (Furlanello et al. 2018, arXiv 1805.04770)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["mixture"]


def mixture(given: Tensor, teacher: Tensor, *, mixing: float) -> Tensor:
    r"""Mix the given label with the teacher's distribution.

    .. math:: t = (1 - \xi)\, y + \xi\, \mathrm{softmax}(v)

    ξ = 1 is the born-again network, whose students see the teacher alone. Any other number is legal: above 1 it moves
    away from the given label, below 0 away from the teacher, and t then has entries below 0, see
    `losses.mixed_cross_entropy`.

    Args:
        given: Given labels as distributions, ``[b, K]``.
        teacher: The teacher's logits, ``[b, K]``.
        mixing: ξ, finite.

    Returns:
        t, ``[b, K]``; rows sum to 1.

    References:
        Furlanello, Lipton, Tschannen, Itti & Anandkumar (2018), arXiv 1805.04770; Das & Sanghavi (2023), arXiv
        2301.13304 (weights above 1).

    Example:
        >>> import torch
        >>> mixture(torch.eye(2)[:1], torch.zeros(1, 2), mixing=3.0).tolist()
        [[-0.5, 1.5]]
    """
    return (1 - mixing) * given + mixing * teacher.softmax(-1)
