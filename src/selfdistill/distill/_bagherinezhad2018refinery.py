"""Soft labels only, taken anew for each view of an example (Bagherinezhad et al. 2018, arXiv 1805.02641)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["refined_label"]


def refined_label(given: Tensor, teacher: Tensor) -> Tensor:
    """Take the teacher's distribution, and leave the given label out.

    In the paper each crop of an image gets its own label: that is what stored views are for.

    Args:
        given: Given labels, ``[b, K]``; not looked at.
        teacher: The teacher's logits, ``[b, K]``.

    Returns:
        Distributions, ``[b, K]``.

    References:
        Bagherinezhad, Horton, Rastegari & Farhadi (2018), arXiv 1805.02641.

    Example:
        >>> import torch
        >>> refined_label(torch.eye(2)[:1], torch.zeros(1, 2)).tolist()
        [[0.5, 0.5]]
    """
    return teacher.softmax(-1)
