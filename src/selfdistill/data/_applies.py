"""What fits a source and what does not: options that it has no use for, and data of another kind than training had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfdistill._core.errors import DataError
from selfdistill.data._options import ReadOptions

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

__all__ = ["check_kind", "check_options"]

_WHAT = {
    "csv": "a table",
    "parquet": "a table",
    "npz": "a file of arrays",
    "npy": "an array",
    "safetensors": "a file of tensors",
    "idx": "IDX data",
    "cifar": "CIFAR data",
    "folder": "a folder of images",
    "digits": "a built-in set of images",
}
_COLUMNS = ("label", "id", "ignore", "truth", "text", "categorical", "numeric")
_NUMBERS = ("decimal", "thousands")
_ARRAYS = {"label", "id", "ignore", "truth", "drop_unlabelled", "inputs", "labels"}
_WHY = {
    "image_size": "it resizes the images of a folder",
    "decimal": "it says how numbers are written in a table",
    "thousands": "it says how numbers are written in a table",
    "inputs": "it names an array of features in an npz or safetensors file",
    "labels": "it names the labels of an npy, npz or safetensors file",
}
_USED = {
    "csv": {*_COLUMNS, *_NUMBERS, "drop_unlabelled"},
    "parquet": {*_COLUMNS, *_NUMBERS, "drop_unlabelled"},
    "npz": _ARRAYS,
    "safetensors": _ARRAYS,
    "npy": {"label", "labels", "drop_unlabelled"},
    "folder": {"image_size", "skip_bad"},
}
_FILES = ("npz", "npy", "safetensors")
_HARMLESS = ("drop_unlabelled", "skip_bad")


def check_options(form: str, options: ReadOptions, where: str) -> list[str]:
    """Refuse options that a source has no use for: what was meant by them would not happen.

    Args:
        form: See `find_form`.
        options: What the user said.
        where: The source, for messages.

    Returns:
        A sentence for each option that is only superfluous.

    Raises:
        DataError: An option about columns where there are none, or about images where there are none.

    Example:
        >>> check_options("csv", ReadOptions(skip_bad=True), "a.csv")
        ['--skip-bad does nothing here: a.csv is a table.']
    """
    notes = []
    for name in (*_COLUMNS, *_WHY, *_HARMLESS):
        if not getattr(options, name) or name in _USED.get(form, ()):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name in _HARMLESS:
            notes.append(f"{flag} does nothing here: {where} is {_WHAT[form]}.")
            continue
        value = getattr(options, name)
        shown = value[0] if isinstance(value, tuple) else value
        found = f"{flag} {shown} does not apply: {where} is {_WHAT[form]}"
        raise DataError(f"{found}, but {_WHY.get(name, 'it names a column')}", f"Leave {flag} out.")
    return notes


def check_kind(form: str, preprocess: Preprocess, where: str) -> None:
    """Refuse data of another kind than training had, before any of it is read.

    Args:
        form: See `find_form`.
        preprocess: The one of training.
        where: The source, for messages.

    Raises:
        DataError: A table where training had arrays or images, or the other way round.
    """
    takes = {
        "table": {"csv", "parquet"},
        "array": {*_FILES, "idx"},
        "sparse": {*_FILES, "idx"},
        "image": {*_FILES, "idx", "cifar", "folder", "digits"},
        "user": {*_FILES, "idx", "cifar", "folder", "digits"},
    }[preprocess.kind]
    if form not in takes:
        had = {"table": "a table of ", "array": "arrays of "}.get(preprocess.kind, "") + preprocess.facts()
        raise DataError(f"{where} is {_WHAT[form]}, but training had {had}", "Give data of the kind of training.")
