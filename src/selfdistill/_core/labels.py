"""Labels as matrices and counts, and the draw of examples that are held out: what several rooms need."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill._core.rng import torch_generator


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Write labels, int64 ``[n]``, as rows with a single 1: float32 ``[n, K]``."""
    return torch.zeros(len(labels), num_classes, device=labels.device).scatter_(1, labels[:, None], 1.0)


def checked_labels(labels: Any, num_classes: int, first: int = 0) -> Tensor:
    """Take given labels of any kind that holds whole numbers from 0 to K - 1: int64 ``[n]``."""
    array = labels.detach() if isinstance(labels, Tensor) else np.asarray(labels)
    whole = array.dtype.kind in "iu" if isinstance(array, np.ndarray) else array.dtype in WHOLE
    if array.ndim != 1 or not whole or not len(array):
        shown = f" such as {array[0]!r}" if array.ndim == 1 and len(array) else ""
        raise DataError(
            f"the labels are {array.dtype} of shape {list(array.shape)}{shown}, but must be whole numbers, one per "
            "example",
            "Encode them: classes, labels = numpy.unique(labels, return_inverse=True).",
        )
    found = array if isinstance(array, Tensor) else torch.from_numpy(array.astype(np.int64))
    least, largest = int(found.min()), int(found.max())
    if least < 0 or largest >= num_classes:
        wrong = int(torch.nonzero((found < 0) | (found >= num_classes))[0])
        hint = "Labels that start from 1: pass labels - 1." if least == 1 and largest == num_classes else (
            "Pass the number of classes as num_classes, and leave out examples without a label."
        )  # fmt: skip
        raise DataError(
            f"the label of example {first + wrong} is {int(found[wrong])}, but with {num_classes} classes labels are "
            f"0 to {num_classes - 1}",
            hint,
        )
    return found.long()


WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Types of whole numbers."""


def normalised(rows: Tensor) -> Tensor:
    """Divide each row ``[n, K]`` by its sum."""
    return rows / rows.sum(-1, keepdim=True)


def pair_counts(clean: Tensor, given: Tensor, num_classes: int) -> Tensor:
    """Count pairs of labels: int64 ``[clean, given]``, ``[K, K]``."""
    pairs = clean.long() * num_classes + given.long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def symmetric_matrix(num_classes: int, rate: float, *, include_clean: bool = False) -> Tensor:
    """Make the matrix of uniform noise, ``T[clean, given]``, float64 ``[K, K]``; see `noise.symmetric`."""
    wrong = rate / num_classes if include_clean else rate / (num_classes - 1)
    matrix = torch.full((num_classes, num_classes), wrong, dtype=torch.float64)
    return matrix.fill_diagonal_(1 - rate + wrong if include_clean else 1 - rate)


def held_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor | None, Tensor]:
    """Draw the examples that are kept from training: the same share of each class, rounded down."""
    if not share:
        return None, torch.empty(0, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch_generator(seed, "held out"))
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = order[labels[order] == label]
        mask[members[: int(share * len(members))]] = True
    return (~mask).nonzero()[:, 0], mask.nonzero()[:, 0]
