"""Soft labels read a block of rows at a time, and checked on the way: memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError

BLOCK_BYTES = 2**22  # bytes of one block as float32; what works on it takes a few times as much
TOLERANCE = 4e-3  # largest distance of a row's sum from 1: sixteen-bit rows of a thousand classes stay below


class SoftLabels(Protocol):
    """Rows of class probabilities that can be sliced: an array, a memory map, a tensor or a store of `targets`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of examples and of classes."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """Return some rows, an array or a tensor."""
        ...


def rows_per_block(classes: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Say how many rows one block has."""
    return max(1, block_bytes // (4 * classes))


def as_given(labels: Any, n: int, k: int) -> np.ndarray:
    """Check given labels against the shape of soft labels."""
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (n,):
        raise DataError(
            f"the soft labels have {n:,} rows, but the given labels have shape {array.shape}",
            "Pass one label for each row, in the same order.",
        )
    if array.dtype.kind not in "iu":
        raise DataError(
            f"the given labels are of type {array.dtype}, but must be whole numbers",
            "Encode them as positions of the soft labels' columns.",
        )
    bad = np.flatnonzero((array < 0) | (array >= k))
    if len(bad):
        raise DataError(
            f"the given label of row {bad[0]} is {array[bad[0]]}, but the soft labels have {k} classes, 0 to {k - 1}",
            "Encode the labels in the order of the columns.",
        )
    return array.astype(np.int64)


def as_soft(soft: Any) -> SoftLabels:
    """Check the shape of soft labels; lists become an array, what else has a shape is taken as it is."""
    try:
        found: SoftLabels = soft if hasattr(soft, "shape") else np.asarray(soft, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"the soft labels are not a table of numbers: {error}", "Pass an array [n, K].") from error
    if len(found.shape) != 2 or found.shape[1] < 2:
        raise DataError(
            f"the soft labels have shape {tuple(found.shape)}, but must have rows and at least 2 columns",
            "Pass one probability per example and class.",
        )
    return found


def blocks(soft: SoftLabels, block_bytes: int = BLOCK_BYTES) -> Generator[tuple[slice, np.ndarray]]:
    """Go through soft labels; each row is divided by its sum, which rounding may have moved from 1."""
    n, k = as_soft(soft).shape
    step = rows_per_block(k, block_bytes)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        part = soft[rows]
        array = part.detach().float().cpu().numpy() if isinstance(part, torch.Tensor) else part
        array = np.asarray(array, np.float32)
        total = array.sum(1, dtype=np.float64)
        _check(array, total, start)
        yield rows, (array / total[:, None]).astype(np.float32)


def _check(rows: np.ndarray, total: np.ndarray, start: int) -> None:
    """Refuse what is no distribution; NaN and infinity show in the sum."""
    wrong = np.flatnonzero(~(np.abs(total - 1) <= TOLERANCE))
    if len(wrong):
        raise DataError(
            f"row {start + wrong[0]} of the soft labels sums to {total[wrong[0]]:.6g}, but must sum to 1",
            "Pass probabilities: a softmax of logits, or each row divided by its sum.",
        )
    if rows.min() < -TOLERANCE:
        row, column = np.argwhere(rows < -TOLERANCE)[0]
        raise DataError(
            f"row {start + row} of the soft labels holds {rows[row, column]:.6g}, but a probability is from 0 to 1",
            "Pass probabilities: a softmax of logits, or each row divided by its sum.",
        )
