"""The predictions of the teacher that is best on noisy held-out labels (Chen et al. 2021, arXiv 2012.04193)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["predicted_label"]


def predicted_label(given: Tensor, teacher: Tensor) -> Tensor:
    """Take the teacher's likeliest class as the label.

    The authors train the student on the teacher's hard predictions; their teacher is the epoch that agrees most with
    noisy labels held out (``choose="held-out"``).

    Args:
        given: Given labels, ``[b, K]``; not looked at.
        teacher: The teacher's logits, ``[b, K]``.

    Returns:
        One-hot rows, ``[b, K]``.

    References:
        Chen, Ye, Chen, Zhao & Heng (2021), arXiv 2012.04193, section 4 (noisy best teacher and student).

    Example:
        >>> import torch
        >>> predicted_label(torch.eye(3)[:1], torch.tensor([[0.0, 2.0, 1.0]])).tolist()
        [[0.0, 1.0, 0.0]]
    """
    return teacher.new_zeros(teacher.shape).scatter_(1, teacher.argmax(-1, keepdim=True), 1.0)
