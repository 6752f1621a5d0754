"""Columns that count or name the rows."""

from __future__ import annotations

import re

import numpy as np

_DENSE = 1.5  # width of a counter's range, in rows
_LEAST_COUNTED = 20
_COUNTED = re.compile(r"(?i:(^|[_\W])(id|idx|index|row|rowid|rownum|no|nr|key|timestamp|time)$)|[a-z](Id|ID)$")
"""How columns are named that name or count rows; the last form keeps its case (`PassengerId`)."""


def counts_rows(numbers: np.ndarray, name: str) -> bool:
    """Tell whether numbers name or count the rows: different whole numbers, dense, or named so."""
    # Dense: their range is at most one and a half times their number, as of a counter that was shuffled or of which
    # rows were dropped. Of other distinct whole numbers the column's name must say so.
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
