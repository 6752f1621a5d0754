"""Half a label for each of the teacher's two likeliest classes (Jeong & Chung 2025, arXiv 2402.10482)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["top_two"]


def top_two(given: Tensor, teacher: Tensor) -> Tensor:
    """Give one half to each of the two classes that the teacher thinks likeliest.

    The paper's analysis matches this target with cross-entropy; its published code starts the student at the teacher's
    weights and takes generalized cross-entropy with q = 0.7, which is ``top-2-gce`` here (from a start of its own).

    Args:
        given: Given labels, ``[b, K]``; not looked at.
        teacher: The teacher's logits, ``[b, K]``, of at least two classes.

    Returns:
        Distributions, ``[b, K]``, two entries of 0.5 each.

    References:
        Jeong & Chung (2025), ICLR, arXiv 2402.10482, section 5 (the student of partial labels).

    Example:
        >>> import torch
        >>> top_two(torch.eye(3)[:1], torch.tensor([[0.0, 2.0, 1.0]])).tolist()
        [[0.0, 0.5, 0.5]]
    """
    return teacher.new_zeros(teacher.shape).scatter_(1, teacher.topk(2, dim=-1).indices, 0.5)
