"""Find out what a source is and what fits it, and read it: for training, for testing, for predicting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import quoted, short
from selfdistill.data._dialect import find_encoding
from selfdistill.data._images import is_mapped_pixels
from selfdistill.data._labelled import LabelledData, NewData
from selfdistill.data._labels import encode, hint, near_matches, texts
from selfdistill.data._place import Place, find_place, is_there, naming
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import Source, assemble, check_inputs, known_labels
from selfdistill.data._table import TablePreprocess
from selfdistill.data.formats import BUILT_IN, FORMATS, Format, Request

_COLUMNS = ("label", "id", "ignore", "truth", "text", "categorical", "numeric", "annotator")
_WHY = {
    "image_size": "it resizes photos",
    "decimal": "it says how numbers are written in a table",
    "thousands": "it says how numbers are written in a table",
    "inputs": "it names an array of features in an npz or safetensors file",
    "labels": "it names the labels of an npy, npz or safetensors file",
    "encoding": "it says how a text file is written",
    "image_column": "it names a column",
    "encoder": "it makes features of photos or texts",
    "features": "it says where features are kept",
}
_HARMLESS = ("drop_unlabelled", "skip_bad")


def check_options(form: Format, options: ReadOptions, where: str) -> list[str]:
    """Refuse options that a source has no use for: what was meant by them would not happen."""
    notes: list[str] = []
    idle = {"skip_bad", "image_size"} if "image_column" in form.uses and not options.image_column else set()
    for name in (*_COLUMNS, *_WHY, *_HARMLESS):
        if not getattr(options, name) or name in form.uses - idle:
            continue
        flag = Flag(name)
        if name in _HARMLESS:
            notes.append(Advice("{flag} does nothing here: {where} is {what}.", flag=flag, where=where, what=form.what))
            continue
        value = getattr(options, name)
        text = value[0] if isinstance(value, tuple) else value
        problem = f"{name} {text} does not apply: {where} is {form.what}, but {_WHY.get(name, 'it names a column')}"
        raise DataError(problem, Advice("Leave {flag} out.", flag=flag), param=name)
    return notes


def _refuse_kind(form: Format, preprocess: Preprocess, where: str) -> NoReturn:
    had = {"table": "a table of ", "array": "arrays of "}.get(preprocess.kind, "") + preprocess.facts()
    raise DataError(f"{where} is {form.what}, but training had {had}", "Give data of the kind of training.")


_ELSEWHERE = {
    (".pkl", ".pickle", ".joblib", ".dill"): "a pickle, which could run code",
    (".pt", ".pth", ".ckpt", ".bin"): "a file of PyTorch, which could run code",
    (".h5", ".hdf5", ".mat"): "HDF5 or MATLAB",
    (".rds", ".rdata", ".sav", ".dta", ".sas7bdat"): "a file of a statistics program",
}
"""Endings of files that are not read, with what they are."""


def find_form(source: Path | str) -> str:
    """Recognise a source by its name and what lies in it; give the name of its format, such as "csv"."""
    return find_format(find_place(source)).name


def _forms() -> str:
    files = ", ".join(one.shown for one in FORMATS if not one.folder)
    folders = ", ".join(one.shown for one in FORMATS if one.folder)
    return f"a file ({files}), a folder ({folders}), '-' for standard input, datasets:NAME, or 'digits'"


def find_format(place: Place) -> Format:
    """Recognise a source, see `find_form`."""
    path = place.path
    if not path.exists():
        if place.name in BUILT_IN:
            return BUILT_IN[place.name]
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = near_matches(path.name, sorted(beside)).partition("There are")[0].strip()
        raise DataError(f"{place.name} does not exist", f"{hint} Give {_forms()}.".strip())
    if path.is_dir() and path.resolve().parent == path.resolve():
        raise DataError(f"{path} is the root of the file system", "Name the file or folder that holds your data.")
    for one in FORMATS:
        if one.detect(path):
            return one
    if path.is_dir():
        what = "is empty" if not any(path.iterdir()) else "holds no images, IDX files or CIFAR batches"
        files = sorted(item for item in path.iterdir() if item.is_file() and any(one.detect(item) for one in FORMATS))
        if files:
            raise DataError(
                f"the folder {path} {what}, but {len(files):,} file{'s' if len(files) > 1 else ''} of data",
                f"Name one of them, such as {files[0]}.",
            )
        if any(path.glob("*/*.txt")):
            code = (
                "import pandas, pathlib; pandas.DataFrame([(p.read_text(), p.parent.name) for p in "
                f"pathlib.Path({str(path)!r}).glob('*/*.txt')], columns=['text', 'label']).to_parquet('texts.parquet')"
            )
            raise DataError(
                f"the folder {path} holds texts in folders, which are not read directly",
                f"Write them into a table: python -c {quoted(code)}",
            )
        raise DataError(f"the folder {path} {what}", f"Give {_forms()}.")
    for endings, what in _ELSEWHERE.items():
        if path.suffix.lower() in endings:
            raise DataError(
                f"{place.name} is {what}, and is not read", "Save the arrays with numpy.savez, or the table as Parquet."
            )
    raise DataError(f"{place.name} is of an unknown kind ({path.suffix or 'no ending'})", f"Give {_forms()}.")


def load(
    source: Path | str,
    options: ReadOptions,
    part: str = "train",
    preprocess: Preprocess | None = None,
    *,
    mapped: bool = False,
    names: bool = False,
) -> Source | None:
    """Read the raw examples."""
    place = find_place(source)
    form = find_format(place)
    if preprocess is not None and preprocess.kind not in form.gives:
        _refuse_kind(form, preprocess, place.name)
    with naming(place):
        examples = form.load(Request(place, options, part, preprocess, mapped, names))
    if examples is not None and preprocess is not None and (examples.form == "table") != (preprocess.kind == "table"):
        _refuse_kind(form, preprocess, examples.where)  # texts where training had numbers, or the other way round
    return examples


def read(source: Path | str, options: ReadOptions | None = None, *, mapped: bool = False) -> LabelledData:
    """Read a source for training; what does not exist, is damaged or does not fit is refused, with what to do."""
    # A source is a file of a table or of arrays, a folder of images, IDX files, CIFAR batches, Parquet files or a saved
    # Hugging Face data set, ``"-"`` for standard input, or ``"digits"``; docs/what-is-read.md has an example of each.
    # ``mapped`` lets vectors of an npy file, an npz file without compression, or a Parquet file (unpacked into a file
    # without a name first) stay on disk where they take more than 256 MiB as float32. Where ``options`` leave rows out,
    # the others come into memory all the same.
    options = options or ReadOptions()
    notes = check_options(find_format(find_place(source)), options, str(source))
    examples = load(source, options, mapped=mapped)
    assert examples is not None
    return assemble(replace(examples, warnings=(*notes, *examples.warnings)), options)


def _seen(source: Source, classes: Sequence[str], advice: str) -> Tensor:
    labels = texts(source.labels, classes)
    codes = encode(labels, classes)
    for row in np.flatnonzero(codes.numpy() < 0):
        if labels[row] is not None:
            raise DataError(
                f"{source.where} holds the class {short(labels[row])!r} (row {row}, counted from 0), "
                "which was not in training",
                hint(labels[row], classes) + advice,
            )
    return codes


def read_test(
    path: Path | str | None, data: LabelledData, options: ReadOptions | None = None, *, source: Path | str | None = None
) -> tuple[Tensor, Tensor, np.ndarray] | None:
    """Read a test set, made as the training set was: inputs, labels int64 ``[n]``, ids; ``None`` without one."""
    # Of a source with two parts the test part; without a path, that of the training set's own ``source``.
    options = options or ReadOptions()
    if path is None and (source is None or not is_there(source)):
        return None
    place, part = (source or "", "test") if path is None else (path, "new")
    examples = load(place, options, part, data.preprocess)
    if examples is None:
        return None
    if examples.labels is None:
        raise DataError(f"{examples.where} has no labels", "A test set needs them.")
    examples = known_labels(examples, options, data.classes)
    if not len(examples):
        raise DataError(f"{examples.where} has no examples", "Give it at least one.")
    inputs = data.preprocess.apply(examples.features)  # first: data of another shape would hold other classes too
    labels = _seen(examples, data.classes, "Leave these rows out, or train with examples of it.")
    return inputs, labels, examples.named()


def read_new(
    path: Path | str,
    preprocess: Preprocess,
    classes: Sequence[str],
    options: ReadOptions | None = None,
    *,
    usual_encoding: str | None = None,
) -> NewData:
    """Read examples to predict, with labels or without; of a source with two parts, the test part."""
    # Columns that differ from training and a class that training never saw are refused. Of the options, ``ignore``
    # names the label's column to leave it unread, ``inputs`` the array of features. ``usual_encoding`` is that of the
    # training file, where the user named it: taken for a text file that is not UTF-8.
    options = options or ReadOptions()
    place = find_place(path)
    form = find_format(place)
    if preprocess.kind not in form.gives:
        _refuse_kind(form, preprocess, str(path))
    if "inputs" not in form.uses:  # the name is that of the training file, which may be of another form
        options = replace(options, inputs=None)
    check_options(form, options, str(path))
    if usual_encoding and not options.encoding and "encoding" in form.uses and find_encoding(place.path)[1]:
        options = replace(options, encoding=usual_encoding)
    examples = _without(load(path, options, "new", preprocess), options, preprocess)
    if not len(examples):
        raise DataError(f"{examples.where} has no examples", "Give it at least one.")
    if not is_mapped_pixels(examples.features):
        check_inputs(len(examples), preprocess, examples.where)
    inputs = preprocess.apply(examples.features)
    labels = None
    examples, messages = form.check_labels(examples, classes)
    if examples.labels is not None:
        hint = Advice(
            "Predict without reading the labels (for a table: {--ignore} and the label's column)", "train with it."
        )
        labels = _seen(examples, classes, hint)
    messages += [*preprocess.doubts(examples.features), *_too_dark(inputs, preprocess)]
    return NewData(inputs, examples.named(), labels, tuple(messages))


def _too_dark(inputs: Tensor, preprocess: Preprocess) -> list[str]:
    """Say where all new images are of 0 and 1, and those of training were not."""
    mean = max(preprocess.stats[0]) if preprocess.stats is not None else 0.0
    if mean <= 1 or inputs.dtype != torch.uint8 or len(inputs) < 2 or int(inputs.max()) != 1:
        return []
    return [
        f"the new images hold 0 and 1 alone, but those of training have a mean of {mean:.3g}: multiply them by 255?"
    ]


def _without(examples: Source | None, options: ReadOptions, preprocess: Preprocess) -> Source:
    """Leave out the columns to ignore; refuse names that no column has, and columns that the network needs."""
    assert examples is not None
    if not isinstance(preprocess, TablePreprocess):
        return examples
    names = examples.features.column_names
    for name in options.ignore:
        if name in preprocess.features:
            raise DataError(
                Advice("column {name!r} cannot be ignored ({--ignore}): training learned from it", name=name),
                Advice("Leave {--ignore} out", "train without the column."),
            )
        if name not in names and name not in preprocess.roles.others():
            problem = Advice("{where} has no column {name!r} ({--ignore})", where=examples.where, name=name)
            raise DataError(problem, near_matches(name, names))
    ignored = [name for name in options.ignore if name in names]
    return replace(examples, features=examples.features.drop_columns(ignored)) if ignored else examples
