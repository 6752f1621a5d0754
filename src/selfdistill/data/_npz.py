"""Arrays in an npz file, and which of a file's arrays are what. Objects are refused: they would be pickles."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._frames import array_form
from selfdistill.data._label_file import read_label_file
from selfdistill.data._labels import near_matches
from selfdistill.data._limits import check_size
from selfdistill.data._mapped import is_large, map_member, stays_on_disk
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

__all__ = [
    "ID_KEYS",
    "INPUT_KEYS",
    "LABEL_KEYS",
    "TRUTH_KEYS",
    "arrays_source",
    "check_header",
    "find_key",
    "form_of",
    "npz_source",
    "read_npz",
]

INPUT_KEYS = ("X", "x", "inputs", "images", "features", "embeddings", "embedding", "data", "arr_0")
LABEL_KEYS = ("y", "labels", "label", "targets", "target")
TRUTH_KEYS = ("truth", "true_labels", "true_label", "y_true")
ID_KEYS = ("ids", "id")


# What zipfile and NumPy raise on broken archives; NotImplementedError is zipfile's word for an unknown compression.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


def read_npz(path: Path, *, mapped: bool = False) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Args:
        path: The file.
        mapped: Whether large arrays of numbers that are not compressed stay on disk.

    Returns:
        The arrays by name.

    Raises:
        DataError: It is damaged, holds Python objects, or unfolds beyond the limit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(archive, member, path)
            large = [m for m in members if mapped and is_large(m)]
            check_size(str(path), sum(m.file_size for m in members if m not in large))
        found = {m.filename.removesuffix(".npy"): map_member(path, m) for m in large}
        with np.load(path, allow_pickle=False) as file:
            return {name: found[name] if name in found else file[name] for name in file.files}
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{path} is truncated or no npz file: {error}", "Write it again with numpy.savez.") from error


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(member) as file:
        check_header(file, member.file_size, f"{path}: {member.filename}")


def check_header(file: IO[bytes], size: int, where: str) -> int:
    """Compare what an array's header says with what is there: memory is taken by the header.

    Args:
        file: Open at the start of an npy file.
        size: Bytes of that file.
        where: Its name, for messages.

    Returns:
        Numbers in the array.

    Raises:
        DataError: It holds Python objects, or less than its header says.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which are not read: they could run code",
            "Save texts as an array of type str: numpy.asarray(texts, dtype=str).",
        )
    said = math.prod(shape) * dtype.itemsize
    if said > size:
        raise DataError(f"{where} is truncated: {said:,} bytes by its header, {size:,} there", "Write it again.")
    return math.prod(shape)


def find_key(arrays: dict[str, Any], names: tuple[str, ...], told: str | None, path: Path, option: str) -> str | None:
    """Choose an array by name.

    Args:
        arrays: The arrays of the file.
        names: Usual names, the first that is there is taken.
        told: The user's choice.
        path: The file, for messages.
        option: The option's name, for messages.

    Returns:
        The name; ``None`` where there is none.

    Raises:
        DataError: The user's choice is not there.

    Example:
        >>> find_key({"x": 0, "y": 0}, INPUT_KEYS, None, Path("a.npz"), "")
        'x'
    """
    if told is not None:
        if told not in arrays:
            raise DataError(f"{path} has no array {told!r} ({option})", near_matches(told, arrays))
        return told
    return next((name for name in names if name in arrays), None)


def npz_source(
    path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None, *, mapped: bool = False
) -> Source | None:
    """Read a file with inputs and labels, perhaps true labels and ids.

    Args:
        path: The file. With arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` it has two parts.
        options: ``inputs``, ``label``, ``truth`` and ``id`` name arrays.
        part: "train", "test", or "new": the test part, else all.
        preprocess: The one of training: its kind is the form.
        mapped: Whether large features may stay on disk.

    Returns:
        The source; ``None`` where the part is not there.
    """
    found = arrays_source(read_npz(path, mapped=mapped), path, options, part, preprocess)
    return found and replace(found, mapped=mapped and stays_on_disk(found.features))


def arrays_source(
    arrays: dict[str, np.ndarray], path: Path, options: ReadOptions, part: str, preprocess: Preprocess | None
) -> Source | None:
    """Say which arrays of a file are what.

    Args:
        arrays: All of them.
        path: The file, for messages.
        options: See `npz_source`.
        part: See `npz_source`.
        preprocess: See `npz_source`.

    Returns:
        The source; ``None`` where the part is not there.

    Raises:
        DataError: There are no inputs, or the arrays differ in length.
    """
    new = part != "train"
    key, split = _input_key(arrays, options, part, path)
    if key is None:
        return None
    X = arrays[key]
    usual = (f"y_{split}",) if split else LABEL_KEYS
    from_file = options.labels is not None and not new
    told = None if from_file or (new and options.label not in arrays) else options.label
    chosen = {
        "labels": None if from_file else find_key(arrays, usual, told, path, "--label"),
        "truth": find_key(arrays, () if split else TRUTH_KEYS, options.truth if not new else None, path, "--truth"),
        "ids": find_key(
            arrays, () if split else ID_KEYS, options.id if not new or options.id in arrays else None, path, "--id"
        ),
    }
    for name in options.ignore:
        find_key(arrays, (), name, path, "--ignore")
    values: dict[str, Any] = {
        role: arrays[name] for role, name in chosen.items() if name is not None and name not in options.ignore
    }
    for role, array in values.items():
        if array.ndim == 0 or len(array) != (len(X) if X.ndim else 0):
            raise DataError(
                f"{path}: {key!r} has shape {X.shape}, but {chosen[role]!r} has {array.shape}",
                "Give every example one.",
            )
    if from_file:
        values["labels"] = read_label_file(options, len(X) if X.ndim else 0, f"{path}: {key!r}")
    if "labels" not in values and not new:
        raise DataError(
            f"{path} has no labels; it holds {', '.join(map(repr, arrays))}",
            f"Name them one of {', '.join(LABEL_KEYS)}, say which with --label, or give a file with --labels.",
        )
    return Source(str(path), form_of(X.shape, preprocess, f"{path}: {key!r}"), X, **values)


def _input_key(
    arrays: dict[str, np.ndarray], options: ReadOptions, part: str, path: Path
) -> tuple[str | None, str | None]:
    """Find the array of inputs, and "train" or "test" where the file has such parts."""
    new = part != "train"
    if options.inputs is not None and (not new or options.inputs in arrays):
        return (None if part == "test" else find_key(arrays, (), options.inputs, path, "--inputs")), None
    parts = {"train": ("x_train", "X_train"), "test": ("x_test", "X_test")}
    keys = {name: find_key(arrays, names, None, path, "") for name, names in parts.items()}
    if part == "test" and keys["test"] is None:
        return None, None
    key = keys["test" if new else "train"]
    if key is None:
        key = find_key(arrays, INPUT_KEYS, None, path, "") or keys["train"]
    if key is None:
        raise DataError(
            f"{path} has no inputs; it holds {', '.join(map(repr, arrays))}",
            f"Name them one of {', '.join(INPUT_KEYS)}, or say which with --inputs.",
        )
    return key, key.partition("_")[2] if key in {*parts["train"], *parts["test"]} else None


def form_of(shape: tuple[int, ...], preprocess: Preprocess | None, what: str) -> str:
    """Give the form of arrays: that of training, or by the number of axes."""
    known = preprocess is not None and preprocess.kind != "table"
    return preprocess.kind if preprocess is not None and known else array_form(shape, what)
