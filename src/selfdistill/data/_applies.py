"""What fits a source and what does not: options that it has no use for, and data of another kind than training had."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from selfdistill._core.errors import DataError
from selfdistill.data._options import ReadOptions

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess
    from selfdistill.data._source import Source
    from selfdistill.data.formats import Format

_COLUMNS = ("label", "id", "ignore", "truth", "text", "categorical", "numeric", "annotator")
_NUMBERS = ("decimal", "thousands")
_WHY = {
    "image_size": "it resizes the images of a folder",
    "decimal": "it says how numbers are written in a table",
    "thousands": "it says how numbers are written in a table",
    "inputs": "it names an array of features in an npz or safetensors file",
    "labels": "it names the labels of an npy, npz or safetensors file",
    "encoding": "it says how a text file is written",
}
_HARMLESS = ("drop_unlabelled", "skip_bad")


def check_options(form: Format, options: ReadOptions, where: str) -> list[str]:
    """Refuse options that a source has no use for: what was meant by them would not happen."""
    notes = []
    for name in (*_COLUMNS, *_WHY, *_HARMLESS):
        if not getattr(options, name) or name in form.uses:
            continue
        flag = f"--{name.replace('_', '-')}"
        if name in _HARMLESS:
            notes.append(f"{flag} does nothing here: {where} is {form.what}.")
            continue
        value = getattr(options, name)
        shown = value[0] if isinstance(value, tuple) else value
        found = f"{flag} {shown} does not apply: {where} is {form.what}"
        raise DataError(f"{found}, but {_WHY.get(name, 'it names a column')}", f"Leave {flag} out.")
    return notes


def check_kind(form: Format, preprocess: Preprocess, where: str) -> None:
    """Refuse data of another kind than training had, before any of it is read."""
    if preprocess.kind not in form.gives:
        _refuse(form, preprocess, where)


def check_same(source: Source, form: Format, preprocess: Preprocess) -> None:
    """Refuse texts where training had numbers, or the other way round, in a format that holds either."""
    if (source.form == "table") != (preprocess.kind == "table"):
        _refuse(form, preprocess, source.where)


def _refuse(form: Format, preprocess: Preprocess, where: str) -> NoReturn:
    had = {"table": "a table of ", "array": "arrays of "}.get(preprocess.kind, "") + preprocess.facts()
    raise DataError(f"{where} is {form.what}, but training had {had}", "Give data of the kind of training.")
