"""Columns of a table that hold a list of numbers in every row, such as embeddings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill._core.wording import quoted
from selfdistill.data._arrays import column_scales, standardise

if TYPE_CHECKING:
    import pyarrow as pa

_LIST = re.compile(r"\s*\[[-+.\deE,\s]+\]\s*")


def is_vectors(kind: pa.DataType) -> bool:
    """Say whether a type is that of lists of numbers."""
    import pyarrow.types as pt

    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        return False
    return bool(pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type))


def parse_lists(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Read lists of numbers that were written as text, as pandas and NumPy do: ``[0.1, 0.2]``, ``[0.1 0.2]``."""
    import pyarrow as pa
    import pyarrow.types as pt

    if not (pt.is_string(column.type) or pt.is_large_string(column.type) or pt.is_string_view(column.type)):
        return None
    heads = (cell for chunk in column.chunks for cell in chunk[:100].to_pylist() if cell is not None and cell.strip())
    if not next(heads, "[").lstrip().startswith("["):
        return None
    lists: list[list[float] | None] = []
    widths = set()
    for cell in column.to_pylist():
        if cell is None or not cell.strip():
            lists.append(None)
            continue
        if not _LIST.fullmatch(cell):
            return None
        try:
            numbers = [float(part) for part in cell.strip()[1:-1].replace(",", " ").split()]
        except ValueError:
            return None
        widths.add(len(numbers))
        lists.append(numbers)
    if len(widths) != 1 or min(widths) < 2:
        return None
    return pa.chunked_array([pa.array(lists, pa.list_(pa.float64()))])


def as_vectors(
    column: pa.ChunkedArray, name: str, width: int | None = None, first: int = 0, known: str = "in training"
) -> np.ndarray:
    """Read a column of lists as an array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_vectors(column.type):
        column = parse_lists(column) or column
    if not is_vectors(column.type):
        raise DataError(
            f"column {name!r} holds {column.type}, but lists of numbers in training", "Give the column of training."
        )
    lengths = pc.list_value_length(column)
    if lengths.null_count:
        row = first + lengths.to_pylist().index(None)
        raise DataError(
            f"column {name!r} has no list in {lengths.null_count:,} of {len(column):,} rows, the first in row {row} "
            "(counted from 0)",
            f"Fill it in, leave these rows out, or train without the column, with --ignore {quoted(name)}.",
        )
    found = lengths.to_numpy()
    said = known if width is not None else "in row 0"
    width = int(found[0]) if width is None and len(found) else width or 0
    other = np.flatnonzero(found != width)
    if len(other):
        raise DataError(
            f"column {name!r} holds lists of different lengths: {width:,} numbers {said}, {int(found[other[0]]):,} in "
            f"row {first + other[0]} (counted from 0)",
            "Give every row the same number of values.",
        )
    if not width:
        raise DataError(f"column {name!r} holds empty lists", f"Leave it out with --ignore {quoted(name)}.")
    narrow = column.type.value_type in {pa.float16(), pa.float32()}
    parts = [np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.float32)])
    array = flat.astype(np.float32 if narrow else np.float64, copy=False).reshape(-1, width)
    _check_finite(array, name, first)
    return array


def _check_finite(array: np.ndarray, name: str, first: int) -> None:
    block = max(1, 2**22 // array.shape[1])
    for start in range(0, len(array), block):
        bad = ~np.isfinite(array[start : start + block])
        if bad.any():
            row, place = (int(one[0]) for one in bad.nonzero())
            row += start
            word = "NaN or no value" if np.isnan(array[row, place]) else "an infinite value"
            raise DataError(
                f"column {name!r} holds {word} in row {first + row}, place {place} of its list (counted from 0)",
                f"Fill it in, leave the row out, or train without the column, with --ignore {quoted(name)}.",
            )


class _Rows:
    """A column of lists, some rows at a time."""

    def __init__(self, column: pa.ChunkedArray, name: str) -> None:
        if column.null_count:
            as_vectors(column, name)  # says so
        self._column, self._name = column, name
        self.shape = (len(column), as_vectors(column[:1], name).shape[1])

    def __getitem__(self, rows: slice) -> np.ndarray:
        return as_vectors(self._column[rows], self._name, self.shape[1], rows.start, "in row 0")


@dataclass(frozen=True, eq=False)
class Vectors:
    """A column of lists: its name, and what standardises each place, see `column_scales`."""

    name: str
    scales: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def width(self) -> int:
        """Numbers in a list."""
        return len(self.scales[0])

    @classmethod
    def fit(cls, column: Any, name: str) -> Vectors:
        """Learn the scales."""
        return cls(name, column_scales(_Rows(column, name)))

    def apply(self, column: Any) -> np.ndarray:
        """Standardise as in training."""
        return standardise(as_vectors(column, self.name, self.width), *self.scales)
