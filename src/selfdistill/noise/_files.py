"""Labels that people gave and transition matrices, from files that hold data, never code."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.noise._transition import class_dependent

_LARGEST = 2**30
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def check_file(path: Path) -> None:
    """Refuse a file that is absent or larger than 1 GiB, unpacked."""
    if not path.is_file():
        raise DataError(f"there is no file {path}", "Check the path.")
    size = path.stat().st_size
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise DataError(f"{path} is no archive of arrays: {error}", "Save it again with numpy.savez.") from None
    if size > _LARGEST:
        raise DataError(
            f"{path} holds {size:,} bytes, more than the limit of {_LARGEST:,}", "Keep only the labels in it."
        )


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npy`` (under the name ``""``) or ``.npz`` file; never a pickle."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as arrays of numbers or strings: {error}",
            "Save it again with numpy.savez or numpy.save.",
        ) from None
    if ("" in arrays) != (path.suffix == ".npy"):
        raise DataError(f"the content of {path} does not fit its ending {path.suffix!r}", "Rename it.")
    return arrays


def read_rows(path: Path) -> list[list[str]]:
    """Read a table of text, ``.csv`` or ``.tsv``, without blank lines."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                [field.strip() for field in row] for row in csv.reader(file, delimiter=DELIMITERS[path.suffix]) if row
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table of UTF-8 text: {error}", "Save it as CSV in UTF-8.") from None
    if not rows:
        raise DataError(f"{path} is empty", "Give a table with a row of names.")
    for number, (above, row) in enumerate(pairwise(rows), start=2):
        if len(row) != len(above):
            raise DataError(
                f"row {number} of {path} has {len(row)} fields, the one above has {len(above)}", "Repair the row."
            )
    return rows


def read_labels(path: str | Path, *, column: str | None = None, length: int | None = None) -> np.ndarray:
    """Read the labels that people gave: int64 ``[n]`` where all are integers, strings otherwise."""
    # From .npz, one array or the one that `column` names, such as worse_label of CIFAR-N; .npy; .csv or .tsv, one
    # column or the one named, under a row of names; or .txt, one label per line. Pickles, and so .pt files, are
    # refused.
    path = Path(path)
    columns = _read_columns(path)
    if column is None and len(columns) != 1:
        raise DataError(f"{path} holds several columns: {', '.join(columns)}", "Name the one with the labels.")
    if column is not None and column not in columns and list(columns) != [""]:
        raise DataError(f"{path} holds no column {column!r}", f"Use one of: {', '.join(columns)}.")
    values = columns[column] if column in columns else next(iter(columns.values()))
    labels = _as_labels(path, np.asarray(values))
    if length is not None and len(labels) != length:
        raise DataError(
            f"{path} holds {len(labels)} labels, but there are {length} examples",
            "Give one label per example, in order.",
        )
    return labels


def _read_columns(path: Path) -> dict[str, Any]:
    check_file(path)
    if path.suffix in {".npz", ".npy"}:
        return load_arrays(path)
    if path.suffix in DELIMITERS:
        header, *rows = read_rows(path)
        if len(set(header)) < len(header):
            raise DataError(f"{path} names a column twice: {', '.join(header)}", "Rename one.")
        return {name: [row[place] for row in rows] for place, name in enumerate(header)}
    if path.suffix == ".txt":
        try:
            return {"": path.read_text(encoding="utf-8-sig").splitlines()}
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no UTF-8 text: {error}", "Save it in UTF-8.") from None
    raise DataError(
        f"{path} has the ending {path.suffix!r}, which is not one of .npz, .npy, .csv, .tsv, .txt",
        "Save the labels in one of these formats; files that can hold code, such as .pt and .pkl, are never read.",
    )


def _as_labels(path: Path, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1:
        raise DataError(f"{path} holds labels of shape {values.shape}", "Give one label per example.")
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind == "U":
        missing = np.flatnonzero(np.char.strip(values) == "")
        if len(missing):
            raise DataError(
                f"{path} lacks the labels of {len(missing)} examples, first in row {missing[0]} (from 0)",
                "Fill them in.",
            )
        try:
            return values.astype(np.int64)
        except (ValueError, OverflowError):
            return values
    whole = values.dtype.kind == "f" and np.isfinite(values)
    if not np.all(whole) or np.any(values != np.round(values)):
        raise DataError(
            f"{path} holds {values.dtype} values that are no class numbers",
            "Give integers or strings, and none missing.",
        )
    return values.astype(np.int64)


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
