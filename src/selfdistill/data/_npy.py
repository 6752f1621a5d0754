"""Features in an npy file, mapped into memory. Objects are refused: they would be pickles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill._core.wording import quoted
from selfdistill.data._array_features import features_source
from selfdistill.data._label_file import read_label_file
from selfdistill.data._limits import check_size
from selfdistill.data._mapped import stays_on_disk
from selfdistill.data._named_arrays import LABEL_KEYS, arrays_source, part_of, refuse_objects
from selfdistill.data._npz import check_header
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Map an array into memory."""
    try:
        with path.open("rb") as file:
            count = check_header(file, path.stat().st_size, str(path))
        if count is None:
            refuse_objects(path.parent, path.stem)
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
    """Read features; the labels of training lie in a file of their own."""
    if part == "test":
        return None
    if part == "train" and options.labels is None:
        raise DataError(
            f"{path} has no labels: an npy file holds one array",
            f"{_beside(path)}Give them with --labels FILE: .npy, .csv, .parquet, or .txt with one label on a line.",
        )
    X = read_npy(path, mapped=mapped)
    labels, note = read_label_file(options, len(X) if X.ndim else 0, str(path)) if part == "train" else (None, "")
    found = features_source(X, str(path), str(path), preprocess, {"labels": labels}, [note] if note else [])
    return replace(found, mapped=mapped and stays_on_disk(X))


def _beside(path: Path) -> str:
    """Propose a file beside that is named like labels."""
    part, _ = part_of(path.stem)
    for file in sorted(path.parent.iterdir()):
        own, name = part_of(file.stem)
        if name in LABEL_KEYS and own == part and file.suffix in {".npy", ".csv", ".parquet", ".txt"}:
            return f"Did you mean --labels {quoted(file)}? "
    return ""


def npy_folder_source(path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None) -> Source | None:
    """Read the npy files of a folder as the arrays of one file, each named as its file is."""
    files = sorted(file for file in path.iterdir() if file.suffix == ".npy" and file.is_file())
    check_size(str(path), sum(file.stat().st_size for file in files))
    return arrays_source({file.stem: read_npy(file) for file in files}, path, options, part, preprocess)


def is_npy_folder(path: Path) -> bool:
    """Tell whether a folder holds several npy files."""
    return path.is_dir() and sum(file.suffix == ".npy" for file in path.iterdir()) > 1
