"""Tables of any library as Arrow tables: which types of columns are numbers, words or lists, or become such."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import column_scales, first_bad, standardise
from selfdistill.data._labels import column_error, text_of
from selfdistill.data._limits import check_names

_AS_TEXT = ("arrow.uuid", "arrow.json", "pandas.interval")
"""Extension types whose values are names or texts; those not named here are what they are stored as."""


def as_table(raw: Any) -> pa.Table:
    """Take a DataFrame, an Arrow table or what gives Arrow's stream as an Arrow table with texts as column names."""
    # Lazy tables are collected; rarer types become common ones, see `plain_column`. A DataFrame's index is left out;
    # columns of mixed types become texts.
    if type(raw).__name__ == "LazyFrame" and hasattr(raw, "collect"):
        raw = raw.collect()
    if isinstance(raw, pa.Table):
        table = raw
    elif hasattr(raw, "__arrow_c_stream__") and not hasattr(raw, "iloc"):
        table = pa.table(raw)
    elif hasattr(raw, "columns") and hasattr(raw, "iloc"):
        columns = [_arrow_column(raw.iloc[:, place]) for place in range(raw.shape[1])]
        table = pa.table(columns, names=[str(name) for name in raw.columns])
    else:
        raise DataError(
            f"expected a table, but got {type(raw).__name__}", "Pass a DataFrame with the training columns."
        )
    names = table.column_names
    check_names(names, "the table")
    for place, (name, column) in enumerate(zip(names, table.columns, strict=True)):
        plain = plain_column(column)
        if plain is not column:
            table = table.set_column(place, name, plain)
    return table


def _arrow_column(series: Any) -> Any:
    if str(series.dtype).startswith("complex"):
        parts = (np.real(series.to_numpy()), np.imag(series.to_numpy()))
        return pa.StructArray.from_arrays([pa.array(part) for part in parts], ["real", "imaginary"])
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError):
        # mixed types, arrays or foreign objects in the cells, for which Arrow has no type: lists or texts serve them
        if all(isinstance(cell, np.ndarray) for cell in series):
            return pa.array([cell.ravel() for cell in series])
        cells = [None if text_of(cell) is None else str(cell) for cell in series.tolist()]
        return pa.array(cells, pa.large_string())


def is_readable(kind: pa.DataType) -> bool:
    """Say whether columns of a type hold truth values, numbers, texts or dates, or are empty."""
    if pt.is_dictionary(kind):
        return is_readable(kind.value_type)
    tests = (
        *(pt.is_boolean, pt.is_integer, pt.is_floating, pt.is_decimal, pt.is_null),
        *(pt.is_string, pt.is_large_string, pt.is_string_view, pt.is_date, pt.is_time, pt.is_timestamp),
    )
    return any(test(kind) for test in tests)


def plain_column(column: Any) -> Any:
    """Bring a column of a rarer type to a common one, where its values have one."""
    # Extension types become what they are stored as (a tensor a list, a period its number), or texts (uuid, JSON,
    # intervals, also as categories). Runs are written out, durations become seconds, bytes become texts where all are
    # UTF-8. List views become lists, and lists of lists of one shape long lists.
    kind = column.type
    inner = kind.value_type if pt.is_dictionary(kind) else None
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name in _AS_TEXT:
            return _as_texts(column)
        if kind.extension_name == "arrow.bool8":
            return column.cast(pa.bool_())
        stored = [chunk.storage for chunk in column.chunks]
        return plain_column(pa.chunked_array(stored, kind.storage_type))
    if inner is not None and (pt.is_string_view(inner) or isinstance(inner, pa.BaseExtensionType)):
        words = [_as_texts(pa.chunked_array([chunk.dictionary])).combine_chunks() for chunk in column.chunks]
        pairs = zip(column.chunks, words, strict=True)
        return pa.chunked_array([pa.DictionaryArray.from_arrays(chunk.indices, named) for chunk, named in pairs])
    if inner is not None and not is_readable(inner):
        return plain_column(column.cast(inner))
    # What Arrow cannot convert stays as it is, and its type is named when the column is left out: Invalid where a value
    # does not fit, NotImplemented where this version of Arrow has no such cast. Neither is swallowed.
    with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if pt.is_string_view(kind):
            return column.cast(pa.large_string())
        if pt.is_run_end_encoded(kind):
            return plain_column(pc.run_end_decode(column))
        if pt.is_duration(kind):
            per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            return pc.divide(column.cast(pa.int64()).cast(pa.float64()), float(per))
        if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or pt.is_binary_view(kind):
            return column.cast(pa.large_binary()).cast(pa.large_string())
        if pt.is_list_view(kind) or pt.is_large_list_view(kind):
            return pa.chunked_array([pa.array(column.to_pylist(), pa.large_list(kind.value_type))])
        if pt.is_fixed_size_list(kind) and pt.is_fixed_size_list(kind.value_type) and not column.null_count:
            within = kind.value_type
            flat = [chunk.flatten().flatten() for chunk in column.chunks]
            long = pa.list_(within.value_type, kind.list_size * within.list_size)
            return plain_column(pa.chunked_array([pa.FixedSizeListArray.from_arrays(f, type=long) for f in flat], long))
    return column


def _as_texts(column: Any) -> Any:
    cells = column.to_pandas().tolist() if "pandas" in str(column.type) else column.to_pylist()
    missing = column.is_null().to_pylist()
    texts = [None if gap else str(cell) for cell, gap in zip(cells, missing, strict=True)]
    return pa.chunked_array([pa.array(texts, pa.large_string())])


_WITHOUT = "train without the column, with {--ignore} {word}."
_LIST = re.compile(r"\s*\[[-+.\deE,\s]+\]\s*")


def is_vectors(kind: pa.DataType) -> bool:
    """Say whether a type is that of lists of numbers."""
    if not (pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)):
        return False
    return bool(pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type))


def parse_lists(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Read lists of numbers that were written as text, as pandas and NumPy do: ``[0.1, 0.2]``, ``[0.1 0.2]``."""
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
    if not is_vectors(column.type):
        column = parse_lists(column) or column
    if not is_vectors(column.type):
        raise DataError(
            f"column {name!r} holds {column.type}, but lists of numbers in training", "Give the column of training."
        )
    width = _list_width(column, name, width, first, known)
    narrow = column.type.value_type in {pa.float16(), pa.float32()}
    parts = [np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.float32)])
    array = flat.astype(np.float32 if narrow else np.float64, copy=False).reshape(-1, width)
    bad = first_bad(array)
    if bad is not None:
        word = "NaN or no value" if np.isnan(array[bad]) else "an infinite value"
        problem = f"holds {word} in row {first + bad[0]}, place {bad[1]} of its list (counted from 0)"
        raise column_error(name, problem, "Fill it in, leave the row out", _WITHOUT)
    return array


def _list_width(column: pa.ChunkedArray, name: str, width: int | None, first: int, known: str) -> int:
    """Numbers in each list: all have as many, and as many as in training."""
    lengths = pc.list_value_length(column)
    if lengths.null_count:
        row = first + lengths.to_pylist().index(None)
        rows = f"{lengths.null_count:,} of {len(column):,} rows, the first in row {row} (counted from 0)"
        raise column_error(name, f"has no list in {rows}", "Fill it in, leave these rows out", _WITHOUT)
    numbers = lengths.to_numpy()
    where = known if width is not None else "in row 0"
    width = int(numbers[0]) if width is None and len(numbers) else width or 0
    other = np.flatnonzero(numbers != width)
    if len(other):
        raise DataError(
            f"column {name!r} holds lists of different lengths: {width:,} numbers {where}, "
            f"{int(numbers[other[0]]):,} in row {first + other[0]} (counted from 0)",
            "Give every row the same number of values.",
        )
    if not width:
        raise column_error(name, "holds empty lists", "Leave it out with {--ignore} {word}.")
    return width


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
    scales: np.ndarray  # [3, width]

    @property
    def width(self) -> int:
        """Numbers in a list."""
        return int(self.scales.shape[1])

    @classmethod
    def fit(cls, column: Any, name: str) -> Vectors:
        """Learn the scales."""
        return cls(name, np.stack(column_scales(_Rows(column, name))))

    def apply(self, column: Any) -> np.ndarray:
        """Standardise as in training."""
        return standardise(as_vectors(column, self.name, self.width), *self.scales)
