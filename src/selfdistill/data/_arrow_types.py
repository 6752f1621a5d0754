"""Tables of any library as Arrow tables; which types of columns are numbers, words or vectors, or become such."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._labels import text_of

if TYPE_CHECKING:
    import pyarrow as pa

_AS_TEXT = ("arrow.uuid", "arrow.json", "pandas.interval")
"""Extension types whose values are names or texts; those not named here are what they are stored as."""


def as_table(raw: Any) -> pa.Table:
    """Take a DataFrame or an Arrow table as an Arrow table with texts as column names.

    Args:
        raw: A pandas DataFrame, an Arrow table, or a table of any library that gives Arrow's stream, such as polars; if
            lazy, it is collected.

    Returns:
        The table, rarer types brought to common ones, see `plain_column`. A DataFrame's index is left out; columns of
        mixed types become texts.

    Raises:
        DataError: Something else, or two columns of the same name.
    """
    import pyarrow as pa

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
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the table has more than one column named {twin!r}", "Give each column its own name.")
    for place, (name, column) in enumerate(zip(names, table.columns, strict=True)):
        plain = plain_column(column)
        if plain is not column:
            table = table.set_column(place, name, plain)
    return table


def _arrow_column(series: Any) -> Any:
    import pyarrow as pa

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
    import pyarrow.types as pt

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
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

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
    # what Arrow cannot convert stays as it is: its type is named when the column is left out
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
    import pyarrow as pa

    cells = column.to_pandas().tolist() if "pandas" in str(column.type) else column.to_pylist()
    missing = column.is_null().to_pylist()
    texts = [None if gap else str(cell) for cell, gap in zip(cells, missing, strict=True)]
    return pa.chunked_array([pa.array(texts, pa.large_string())])
