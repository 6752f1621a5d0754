"""Labels in a file of their own, beside an array of features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._csv import is_csv, read_csv
from selfdistill.data._label_arrays import one_label
from selfdistill.data._labels import texts
from selfdistill.data._limits import check_size
from selfdistill.data._options import ReadOptions
from selfdistill.data._parquet import read_parquet
from selfdistill.data._roles import label_column

if TYPE_CHECKING:
    import pyarrow as pa


def read_label_file(options: ReadOptions, n: int, what: str) -> tuple[np.ndarray, str]:
    """Read the labels of the training rows, in their order."""
    path = Path(options.labels or "")
    if not path.is_file():
        raise DataError(f"{path} (--labels) {'is no file' if path.exists() else 'does not exist'}", "Name a file.")
    hint = note = ""
    if path.suffix == ".npy":
        from selfdistill.data._npy import read_npy

        array, note = one_label(np.asarray(read_npy(path)), str(path))
        found = texts(array)
    elif path.suffix == ".txt":
        found = _lines(path)
    elif is_csv(path):
        found = _column(read_csv(path), options, path)
        hint = " The first line of a CSV file holds the column's name." if len(found) == n - 1 else ""
    elif path.suffix in {".parquet", ".pq"}:
        found = _column(read_parquet(path), options, path)
    else:
        raise DataError(
            f"{path} (--labels) is of a kind that is not known ({path.suffix or 'no ending'})",
            "Give .npy, .csv, .parquet, or .txt with one label on a line.",
        )
    if len(found) != n:
        raise DataError(
            f"{what} has {n:,} examples, but {path} {len(found):,} labels", f"Give every one a label.{hint}"
        )
    return found, note


def _column(table: pa.Table, options: ReadOptions, path: Path) -> np.ndarray:
    names = table.column_names
    name = names[0] if len(names) == 1 and options.label is None else label_column(names, options, str(path))[0]
    return texts(table[name])


def _lines(path: Path) -> np.ndarray:
    try:
        check_size(str(path), path.stat().st_size)
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}", "Save it as UTF-8.") from error
    if not lines[-1]:
        lines.pop()
    return texts(np.array([line.strip() for line in lines], dtype=object))
