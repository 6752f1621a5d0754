"""Columns that count or name the rows."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["counts_rows"]

_DENSE = 1.5  # width of a counter's range, in rows
_LEAST_COUNTED = 20
_COUNTED = re.compile(r"(?i:(^|[_\W])(id|idx|index|row|rowid|rownum|no|nr|key|timestamp|time)$)|[a-z](Id|ID)$")
"""How columns are named that name or count rows; the last form keeps its case (`PassengerId`)."""


def counts_rows(numbers: np.ndarray, name: str) -> bool:
    """Tell whether numbers name or count the rows: different whole numbers, dense, or named so.

    Dense: they lie in a range of at most one and a half times as many as there are, as a counter does that was shuffled
    or of which rows were dropped. Of other different whole numbers the column's name must say so.

    Args:
        numbers: float64 ``[n]``.
        name: The column.

    Returns:
        Whether they do; never below 20 rows, but for an index that counts from 0 or 1.

    Example:
        >>> shuffled = np.random.default_rng(0).permutation(30).astype(float)
        >>> counts_rows(shuffled, "x"), counts_rows(shuffled / 7, "x"), counts_rows(shuffled**2, "x")
        (True, False, False)
    """
    n = len(numbers)
    if name in {"index", "__index_level_0__"} or name.startswith("Unnamed: "):
        steps = np.diff(numbers)
        if len(steps) and numbers[0] in {0.0, 1.0} and (steps == 1).all():
            return True
    if n < _LEAST_COUNTED or not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return False
    if len(np.unique(numbers)) < n:
        return False
    return bool(numbers.max() - numbers.min() < _DENSE * n or _COUNTED.search(name))
