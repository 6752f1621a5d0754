"""Transition matrices from files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.noise._tables import DELIMITERS, check_file, load_arrays, read_rows
from selfdistill.noise._transition import class_dependent

__all__ = ["read_matrix"]


def read_matrix(path: str | Path, *, classes: Sequence[str] | None = None) -> Tensor:
    r"""Read a transition matrix ``T[clean, given]``, rows sum to 1.

    From ``.csv`` or ``.tsv``, with or without class names in the first row, the first column, or both; ``.npy``; or
    ``.json``: a list of rows, or ``{"classes": [...], "matrix": [...]}``.

    Args:
        path: The file.
        classes: Class names in the order the labels are numbered. Where the file names its classes, rows and columns
            are put into this order; where it does not, it must be in this order already.

    Returns:
        float64 ``[K, K]``.

    Raises:
        DataError: No such file, damaged, no matrix of probabilities, or other classes than ``classes``.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "matrix.csv"
        >>> _ = file.write_text("clean,dog,cat\ndog,0.75,0.25\ncat,0,1\n")
        >>> read_matrix(file, classes=["cat", "dog"]).tolist()
        [[1.0, 0.0], [0.25, 0.75]]
    """
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
        return load_arrays(path)[""], None, None
    if path.suffix == ".json":
        return _read_json_table(path)
    if path.suffix not in DELIMITERS:
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
        raise DataError(f"{path} is no JSON: {error}", "Write the matrix as a list of rows.") from None
    if isinstance(content, dict) and "matrix" in content:
        names = content.get("classes")
        if names is not None and not isinstance(names, list):
            raise DataError(f"{path} holds classes that are no list", "Write them as a list of names.")
        names = None if names is None else [str(name) for name in names]
        return content["matrix"], names, names
    if not isinstance(content, list):
        raise DataError(f"{path} holds no matrix", 'Write a list of rows, or {"classes": [...], "matrix": [...]}.')
    return content, None, None
