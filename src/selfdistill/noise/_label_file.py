"""Labels that people gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.noise._tables import DELIMITERS, check_file, load_arrays, read_rows

__all__ = ["read_labels"]


def read_labels(path: str | Path, *, column: str | None = None, length: int | None = None) -> np.ndarray:
    r"""Read the labels that people gave, one per example.

    ==========  ============================================================================================
    ``.npz``    one array, or the one that ``column`` names, such as ``worse_label`` of CIFAR-N
    ``.npy``    one array
    ``.csv``    one column, or the one that ``column`` names; the first row holds the names (``.tsv``: by tabs)
    ``.txt``    one label per line
    ==========  ============================================================================================

    Args:
        path: The file. Pickles, and so ``.pt`` files, are refused.
        column: Name of the array or column, where the file holds several.
        length: Number of labels that there must be.

    Returns:
        int64 ``[n]`` where all labels are integers, strings otherwise.

    Raises:
        DataError: No such file, another format, damaged, larger than 1 GiB, no such column, several columns and no
            ``column``, a missing label, more than one number per example, or another number of labels.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("id,label\na,3\nb,1\n")
        >>> read_labels(file, column="label").tolist()
        [3, 1]
    """
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
