"""Transition matrices from files that hold data, never code."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.noise._transition import class_dependent

_LARGEST = 2**30
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def check_file(path: Path) -> None:
    """Refuse a file that does not exist or is larger than 1 GiB."""
    if not path.is_file():
        raise DataError(f"there is no file {path}", "Check the path.")
    size = path.stat().st_size
    if size > _LARGEST:
        raise DataError(
            f"{path} holds {size:,} bytes, more than the limit of {_LARGEST:,}", "Keep only the matrix in it."
        )


def load_array(path: Path) -> np.ndarray:
    """Read the array of an ``.npy`` file; never a pickle."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise DataError(
            f"{path} cannot be read as an array of numbers: {error}", "Save it again with numpy.save."
        ) from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"the content of {path} does not fit its ending {path.suffix!r}", "Rename it.")
    return found


def read_rows(path: Path) -> list[list[str]]:
    """Read a table of text, ``.csv`` or ``.tsv``, without blank lines."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                [field.strip() for field in row] for row in csv.reader(file, delimiter=_DELIMITERS[path.suffix]) if row
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a table in UTF-8: {error}", "Save it as CSV in UTF-8.") from None
    if not rows:
        raise DataError(f"{path} is empty", "Give a table with a row of names.")
    for number, (above, row) in enumerate(pairwise(rows), start=2):
        if len(row) != len(above):
            raise DataError(
                f"row {number} of {path} has {len(row)} fields, the one above has {len(above)}", "Repair the row."
            )
    return rows


def read_matrix(path: str | Path, *, classes: Sequence[str] | None = None) -> Tensor:
    """Read ``T[clean, given]``, float64 ``[K, K]``, rows sum to 1, and put it into the order of ``classes``."""
    # From .csv or .tsv, with or without class names in the first row, the first column, or both; .npy; or .json, a list
    # of rows, or {"classes": [...], "matrix": [...]}. A file without names must be in the order of the classes already.
    path = Path(path)
    rows, row_names, column_names = _read_table(path)
    matrix = _check(path, rows, row_names, column_names)
    if classes is None:
        if row_names is not None and column_names is not None and row_names != column_names:
            matrix = matrix[:, _order(path, column_names, row_names)]
        return matrix
    if len(matrix) != len(classes):
        raise DataError(
            f"{path} holds a matrix of {len(matrix)} classes, but the data have {len(classes)}: {', '.join(classes)}",
            "Give one row and one column per class.",
        )
    if row_names is not None or column_names is not None:
        matrix = matrix[_order(path, row_names or column_names or [], classes)]
        matrix = matrix[:, _order(path, column_names or row_names or [], classes)]
    return matrix


def _check(path: Path, rows: Any, *namings: list[str] | None) -> Tensor:
    try:
        matrix = class_dependent(rows)
    except SettingError as error:
        raise DataError(f"{path}: {error.problem}", error.hint) from None
    for names in namings:
        if names is not None and (len(names) != len(matrix) or len(set(names)) != len(names)):
            raise DataError(f"{path} names {', '.join(names)} for {len(matrix)} classes", "Name each class once.")
    return matrix


def _order(path: Path, names: Sequence[str], classes: Sequence[str]) -> list[int]:
    missing = [name for name in classes if name not in names]
    if missing:
        raise DataError(f"{path} has no row or column for {', '.join(missing)}", f"It names: {', '.join(names)}.")
    return [list(names).index(name) for name in classes]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_table(path: Path) -> tuple[Any, list[str] | None, list[str] | None]:
    """Read rows, row names and column names."""
    check_file(path)
    if path.suffix == ".npy":
        return load_array(path), None, None
    if path.suffix == ".json":
        return _read_json_table(path)
    if path.suffix not in _DELIMITERS:
        raise DataError(
            f"{path} has the ending {path.suffix!r}, which is not one of .csv, .tsv, .json, .npy",
            "Save the matrix in one of these formats.",
        )
    rows = read_rows(path)
    height, width = len(rows), len(rows[0])
    both = height == width and not _is_number(rows[0][0])
    header = rows.pop(0) if both or height == width + 1 else None
    names = [row.pop(0) for row in rows] if both or width == height + 1 else None
    return rows, names, header[1:] if header and both else header


def _read_json_table(path: Path) -> tuple[Any, list[str] | None, list[str] | None]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", "Write the matrix as a list of rows.") from None
    if isinstance(content, dict) and "matrix" in content:
        names = content.get("classes")
        if names is not None and not isinstance(names, list):
            raise DataError(f"{path} holds classes that are not a list", "Write them as a list of names.")
        names = None if names is None else [str(name) for name in names]
        return content["matrix"], names, names
    if not isinstance(content, list):
        raise DataError(f"{path} holds no matrix", 'Write a list of rows, or {"classes": [...], "matrix": [...]}.')
    return content, None, None
