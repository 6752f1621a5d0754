"""Columns of Python values, as cells of workbooks, JSON and databases give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from selfdistill.data._labels import text_of

if TYPE_CHECKING:
    import pyarrow as pa


def column_of(values: Sequence[Any]) -> pa.Array:
    """Make a column; values of different types become texts."""
    import pyarrow as pa

    try:
        made = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError):
        # cells of several types, or numbers beyond 64 bit, which no Arrow column holds: texts hold them all
        return pa.array([text_of(value) for value in values], pa.large_string())
    return made
