"""Files of arrays and tables that hold data, never code."""

from __future__ import annotations

import csv
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from selfdistill._core.errors import DataError

__all__ = ["DELIMITERS", "check_file", "load_arrays", "read_rows"]

_LARGEST = 2**30
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def check_file(path: Path) -> None:
    """Refuse a file that is absent or larger than 1 GiB, unpacked.

    Args:
        path: The file.

    Raises:
        DataError: There is none, it is damaged, or it is too large.
    """
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
    """Read the arrays of an ``.npy`` (under the name ``""``) or ``.npz`` file; never a pickle.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        DataError: It is damaged, or holds objects.
    """
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
    """Read a table of text, ``.csv`` or ``.tsv``, without blank lines.

    Args:
        path: The file.

    Returns:
        Rows of stripped fields, at least one, all of one length.

    Raises:
        DataError: It is empty, no text, or its rows differ in length.
    """
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
