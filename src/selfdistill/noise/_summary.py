"""What noise did to labels, measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError

__all__ = ["Summary", "check_labels", "summary"]


class Summary(NamedTuple):
    """Noise of one set of labels against the truth.

    Attributes:
        rate: Share of wrong labels.
        class_rates: The same per clean class, float64 ``[K]``; 0 for a class without examples.
        matrix: Share of each given label per clean class, float64 ``[K, K]``, ``[clean, given]``; rows sum to 1, and
            to 0 for a class without examples.
        counts: The same as counts, int64 ``[K, K]``.
    """

    rate: float
    class_rates: Tensor
    matrix: Tensor
    counts: Tensor


def check_labels(labels: Tensor, num_classes: int, name: str = "labels") -> None:
    """Refuse labels that are not integers in [0, num_classes).

    Args:
        labels: Labels, integer ``[n]``.
        num_classes: Number of classes.
        name: What to call them in messages.

    Raises:
        DataError: Another shape or type, or a value out of range.

    Example:
        >>> check_labels(torch.tensor([0, 1]), 2)
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            f"{name} of shape {tuple(labels.shape)} and type {labels.dtype} are not one integer per example",
            "Give an int64 tensor [n] of class numbers.",
        )
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{name}[{row}] is {int(labels[row])}, but must lie in [0, {num_classes}) for {num_classes} classes",
            "Number the classes from 0.",
        )


def summary(clean: Tensor, given: Tensor, num_classes: int) -> Summary:
    """Measure the noise of given labels.

    Args:
        clean: True labels, int64 ``[n]``.
        given: Given labels, int64 ``[n]``.
        num_classes: Number of classes K.

    Returns:
        Rates, matrix and counts.

    Raises:
        DataError: Different lengths, or labels out of range.

    Example:
        >>> noise = summary(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 2)
        >>> noise.rate, noise.matrix.tolist()
        (0.25, [[0.5, 0.5], [0.0, 1.0]])
    """
    check_labels(clean, num_classes, "clean labels")
    check_labels(given, num_classes, "given labels")
    if len(clean) != len(given):
        raise DataError(
            f"there are {len(clean)} clean but {len(given)} given labels",
            "Give one of each per example, in the same order.",
        )
    pairs = clean.long() * num_classes + given.long()
    counts = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    totals = counts.sum(1).clamp_min(1).double()
    matrix = counts / totals[:, None]
    wrong = counts.sum(1) - counts.diagonal()
    return Summary(int(wrong.sum()) / max(len(clean), 1), wrong / totals, matrix, counts)
