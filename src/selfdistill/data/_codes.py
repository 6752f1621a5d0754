"""Columns of few values as codes, and how far they tell a label."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from selfdistill.data._arrow_types import is_readable
from selfdistill.data._columns import parse_numbers
from selfdistill.data._labels import texts

TELLS = 0.995  # share of rows whose label a column tells, from which it may have been made from the label
_NEAR, _HEAD = 0.05, 1000  # how close numbers lie to whole ones; rows that are looked at first


def few_values(column: pa.ChunkedArray, limit: int) -> tuple[list[str] | None, np.ndarray, int]:
    """Distinct values as texts, the code of each row (−1: missing), rows that have one; ``None`` where too many."""
    if pt.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not is_readable(column.type) or pt.is_null(column.type) or pc.count_distinct(column).as_py() > limit + 2:
        return None, np.zeros(0, np.int64), 0
    cells = texts(column)
    values = sorted({cell for cell in cells if cell is not None})
    if len(values) > limit:
        return None, np.zeros(0, np.int64), 0
    place = {value: code for code, value in enumerate(values)}
    codes = np.array([-1 if cell is None else place[cell] for cell in cells], dtype=np.int64)
    return values, codes, int((codes >= 0).sum())


def nearly_whole(column: pa.ChunkedArray, name: str, limit: int) -> tuple[list[str] | None, np.ndarray, int]:
    """The same of numbers that all lie close to a few whole ones, as a code with a little noise does."""
    if not is_readable(column.type):
        return None, np.zeros(0, np.int64), 0
    for part in (column.slice(0, _HEAD), column):
        numbers = parse_numbers(part, name)
        if isinstance(numbers, int):
            return None, np.zeros(0, np.int64), 0
        known = np.isfinite(numbers)
        whole = np.rint(numbers[known])
        values, codes = np.unique(whole, return_inverse=True)
        if not known.any() or np.mean(np.abs(numbers[known] - whole) <= _NEAR) < TELLS or len(values) > limit:
            return None, np.zeros(0, np.int64), 0
    every = np.full(len(known), -1, np.int64)
    every[known] = codes
    return [f"about {value:g}" for value in values], every, int(known.sum())


def share_told(codes: np.ndarray, labels: np.ndarray, classes: set[str] | None = None) -> float:
    """Share of rows whose label is the most frequent one of their value; 0 if these are not all of ``classes``."""
    groups: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for code, label in zip(codes.tolist(), labels, strict=True):
        if code >= 0 and label is not None:
            groups[code][label] += 1
    most = [group.most_common(1)[0] for group in groups.values()]
    if not most or (classes is not None and {label for label, _ in most} != classes):
        return 0.0
    return sum(count for _, count in most) / sum(group.total() for group in groups.values())


def one_hot(table: pa.Table) -> list[list[str]]:
    """Find sets of columns side by side that hold 0 and 1, one of which is 1 in each row."""
    sets: list[list[str]] = []
    run: list[tuple[str, np.ndarray]] = []
    total = np.zeros(table.num_rows, np.int64)
    for name in table.column_names:
        values, codes, known = few_values(table[name], 2)
        if values not in (["0", "1"], ["False", "True"]) or known < len(codes):
            run, total = [], np.zeros(table.num_rows, np.int64)
            continue
        run.append((name, codes))
        total = total + codes
        while total.max() > 1:
            total = total - run.pop(0)[1]
        if len(run) > 1 and total.min() == 1:
            sets.append([name for name, _ in run])
            run, total = [], np.zeros(table.num_rows, np.int64)
    return sets
