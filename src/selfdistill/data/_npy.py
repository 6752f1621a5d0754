"""Features in an npy file, mapped into memory. Objects are refused: they would be pickles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._label_file import read_label_file
from selfdistill.data._limits import check_size
from selfdistill.data._mapped import stays_on_disk
from selfdistill.data._npz import check_header, form_of
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

__all__ = ["npy_source", "read_npy"]


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Map an array into memory.

    Args:
        path: The file.
        mapped: Whether it stays on disk if it is large; then there is no limit.

    Returns:
        The array; its pages are read when they are used.

    Raises:
        DataError: It is damaged, holds Python objects, or takes more memory as float32 than the limit.
    """
    try:
        with path.open("rb") as file:
            count = check_header(file, path.stat().st_size, str(path))
        if not mapped:
            check_size(str(path), 4 * count)
        found: np.ndarray = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
    except DataError:
        raise
    except (EOFError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is truncated or no npy file: {line}", "Write it again with numpy.save.") from error
    return found


def npy_source(
    path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None, *, mapped: bool = False
) -> Source | None:
    """Read features; the labels of training lie in a file of their own.

    Args:
        path: The file.
        options: ``labels`` names the file with the labels, ``label`` its column.
        part: "train", or "new": without labels; there is no "test".
        preprocess: The one of training: its kind is the form.
        mapped: Whether large features may stay on disk.

    Returns:
        The source; ``None`` for the test part.

    Raises:
        DataError: Training without a file of labels; or an error of reading.
    """
    if part == "test":
        return None
    if part == "train" and options.labels is None:
        raise DataError(
            f"{path} has no labels: an npy file holds one array",
            "Give them with --labels FILE: .npy, .csv, .parquet, or .txt with one label on a line.",
        )
    X = read_npy(path, mapped=mapped)
    form = form_of(X.shape, preprocess, str(path))
    labels = read_label_file(options, len(X), str(path)) if part == "train" else None
    return Source(str(path), form, X, labels, mapped=mapped and stays_on_disk(X))
