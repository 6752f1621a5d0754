"""Which of a file's arrays are what: by their names, as people and libraries give them, or as the user says."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from scipy.sparse import issparse

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed
from selfdistill.data._labelled import Note
from selfdistill.data._labels import near_matches, texts
from selfdistill.data._limits import check_size
from selfdistill.data._preprocess import Preprocess, Roles
from selfdistill.data._roles import label_column
from selfdistill.data._source import Source, array_form
from selfdistill.data._stored import read_npy, read_parquet, refuse_objects
from selfdistill.data._table import fit_table
from selfdistill.data.formats._csv import Csv, read_csv
from selfdistill.data.formats._format import Request

INPUT_KEYS = (
    *("X", "inputs", "images", "features", "embeddings", "embedding", "data", "feats", "vectors", "encodings"),
    *("texts", "text", "sentences", "arr_0"),
)
LABEL_KEYS = ("y", "labels", "label", "targets", "target", "classes", "class")
TRUTH_KEYS = ("truth", "true_labels", "true_label", "y_true")
ID_KEYS = ("ids", "id")
_PARTS = {
    "train": ("train", "training", "tr"),
    "test": ("test", "testing", "te"),
    "held": ("val", "valid", "validation", "dev"),
}
_SPLIT = re.compile(r"[_ .-]+|(?<=^x)(?=t)|(?<=^y)(?=t)|(?<=^x)(?=v)|(?<=^y)(?=v)")


def find_key(
    arrays: Collection[str], names: tuple[str, ...], named: str | None, path: Path | str, option: str
) -> str | None:
    """Choose an array by name."""
    if named is not None:
        if named not in arrays:
            problem = Advice("{path} has no array {named!r} ({flag})", path=path, named=named, flag=Flag(option))
            raise DataError(problem, near_matches(named, arrays))
        return named
    small = {one.lower(): one for one in sorted(arrays, key=lambda one: one in names)}  # "y" before "Y"
    return next((small[name.lower()] for name in names if name.lower() in small), None)


def part_of(name: str) -> tuple[str, str]:
    """Split the name of an array of one part of the data."""
    words = _SPLIT.split(name.lower())
    for part, called in _PARTS.items():
        if len(words) > 1 and (words[0] in called or words[-1] in called):
            return part, "_".join(words[1:] if words[0] in called else words[:-1])
    return "", name.lower()


def _of_part(arrays: Collection[str], part: str, usual: tuple[str, ...]) -> str | None:
    """The array of a part that has one of the usual names."""
    rest = {part_of(name)[1]: name for name in arrays if part_of(name)[0] == part}
    return next((rest[name.lower()] for name in usual if name.lower() in rest), None)


def label_key(arrays: Mapping[str, Any], options: ReadOptions, path: Path | str) -> str | None:
    """Choose the array of the labels of training."""
    key, part = _input_key(arrays, options, "train", path)
    return _label_of(arrays, options.label, key, part, path)


def _label_of(
    arrays: Mapping[str, Any], named: str | None, inputs: str | None, part: str, path: Path | str
) -> str | None:
    if named is not None or not part:
        name = find_key(arrays, LABEL_KEYS, named, path, "label")
        second = name is None and inputs == "arr_0" and "arr_1" in arrays
        return "arr_1" if second and np.ndim(arrays["arr_1"]) and len(arrays["arr_1"]) == len(arrays["arr_0"]) else name
    return _of_part(arrays, part, LABEL_KEYS)


def _input_key(arrays: Mapping[str, Any], options: ReadOptions, part: str, path: Path | str) -> tuple[str | None, str]:
    """Find the array of inputs, and "train" or "test" where the file has such parts."""
    new = part != "train"
    if options.inputs is not None and (not new or options.inputs in arrays):
        key = find_key(arrays, (), options.inputs, path, "inputs")
        own = part_of(key or "")[0]
        if not new or part == "new":
            return key, own if own in {"train", "test"} and _of_part(arrays, own, LABEL_KEYS) else ""
        if own != "train":
            return None, ""
    train, test = (_of_part(arrays, one, INPUT_KEYS) for one in ("train", "test"))
    if part == "test":
        return test, "test"
    if new and test is not None:
        return test, "test"
    key = find_key(arrays, INPUT_KEYS, None, path, "")
    return (train, "train") if train is not None and (key is None or not new) else (key, "")


def _suggested(arrays: Mapping[str, Any]) -> str:
    """Propose the only array that can be features and the only one that can be labels."""
    wide = [name for name, one in arrays.items() if np.ndim(one) > 1 and np.asarray(one).dtype.kind in "fiub"]
    if len(wide) != 1:
        return ""
    long = [name for name, one in arrays.items() if np.ndim(one) == 1 and len(one) == len(arrays[wide[0]])]
    if len(long) != 1:
        return Advice("Did you mean {--inputs} {inputs}? ", inputs=wide[0])
    return Advice("Did you mean {--inputs} {inputs} {--label} {label}? ", inputs=wide[0], label=long[0])


def arrays_source(arrays: Mapping[str, Any], request: Request, *, objects: Collection[str] = ()) -> Source | None:
    """Say which arrays of a file are what."""
    path, options, part = request.place.path, request.options, request.part
    new = part != "train"
    for named in (options.inputs, *(() if new else (options.label, options.truth, options.id))):
        if named is not None and named in objects:
            refuse_objects(path, named)
    key, split = _input_key(arrays, options, part, path)
    if key is None and part == "test":
        return None
    if key is None:
        _refuse_missing(arrays, path, objects, INPUT_KEYS, "inputs")
    X = arrays[key]
    count = X.shape[0] if X.shape else 0
    from_file = options.labels is not None and not new
    chosen = _chosen(arrays, options, key, split, path, new=new, from_file=from_file)
    for name in options.ignore:
        find_key(arrays, (), name, path, "ignore")
    values: dict[str, Any] = {
        role: arrays[name] for role, name in chosen.items() if name is not None and name not in options.ignore
    }
    notes: list[str] = []
    for role, array in values.items():
        if array.ndim == 0 or len(array) != count:
            raise DataError(
                f"{path}: {key!r} has shape {X.shape}, but {chosen[role]!r} has {array.shape}",
                "Give every example one.",
            )
        if role == "ids":
            check_texts(array, f"{path}: {chosen[role]!r}")
        else:
            values[role], note = one_label(array, f"{path}: {chosen[role]!r}")
            notes += [note] if note else []
    if from_file:
        values["labels"], note = read_label_file(options, count, f"{path}: {key!r}")
        notes += [note] if note else []
    if "labels" not in values and not new:
        _refuse_missing(arrays, path, objects, LABEL_KEYS, "labels")
    return features_source(X, f"{path}: {key!r}", str(path), request.preprocess, values, notes)


def _chosen(
    arrays: Mapping[str, Any], options: ReadOptions, key: str, split: str, path: Path, *, new: bool, from_file: bool
) -> dict[str, str | None]:
    """Name the arrays that go with the inputs."""

    def named(name: str | None) -> str | None:
        return name if not new or name in arrays else None

    label = named(options.label)
    if new and split == "test" and label is not None and part_of(label)[0] == "train":
        label = None  # that of training was told; the test part has its own
    return {
        "labels": None if from_file else _label_of(arrays, label, key, split, path),
        "truth": find_key(arrays, () if split else TRUTH_KEYS, None if new else options.truth, path, "truth"),
        "ids": find_key(arrays, () if split else ID_KEYS, named(options.id), path, "id"),
    }


def _refuse_missing(
    arrays: Mapping[str, Any], path: Path, objects: Collection[str], names: tuple[str, ...], what: str
) -> NoReturn:
    held = [name for name in objects if name.lower() in {one.lower() for one in names} or part_of(name)[1] in names]
    if held:
        refuse_objects(path, held[0])
    ways = ["say which with {--inputs}."]
    if what == "labels":
        ways = ["say which with {--label}", "give a file with {--labels}."]
    raise DataError(
        f"{path} has no {what}; it holds {', '.join(map(repr, [*arrays, *objects]))}",
        _suggested(arrays) + Advice("Name them one of {names}", *ways, names=", ".join(names)),
    )


def check_texts(array: Any, where: str) -> None:
    """Refuse records, and texts of characters that there are not, as damaged files hold them."""
    if array.dtype.names:
        raise DataError(
            f"{where} is a structured array, with the fields {listed(array.dtype.names)}",
            "Save it as a table: pandas.DataFrame(array).to_parquet('data.parquet').",
        )
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise DataError(f"{where} holds invalid Unicode: it is damaged", "Write it again.")


def one_label(array: Any, where: str) -> tuple[Any, str]:
    """Turn one-hot labels into the numbers of their columns."""
    check_texts(array, where)
    if array.ndim < 2 or (array.ndim == 2 and array.shape[1] == 1):
        return array, ""
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        raise DataError(f"{where} has shape {array.shape}, but labels are one per example", "Give labels of shape [n].")
    values = np.asarray(array, np.float64)
    sums = values.sum(1)
    if np.isin(values, (0.0, 1.0)).all():
        if (sums == 1).all():
            return values.argmax(1), Note(f"{where} is one-hot: the labels are the numbers of its columns, from 0.")
        row = int(np.flatnonzero(sums != 1)[0])
        raise DataError(
            f"{where} is multi-label: row {row} has {int(sums[row]):,} of {array.shape[1]:,} labels, but training "
            "takes one class for each example",
            "Train on one of its columns, saved as an array of its own, or keep one label for each example.",
        )
    if (values >= 0).all() and np.allclose(sums, 1, atol=1e-3):
        raise DataError(
            f"{where} holds probabilities of {array.shape[1]:,} classes",
            "Give labels of shape [n], or in Python SelfDistillClassifier().fit(X, probabilities).",
        )
    raise DataError(f"{where} has shape {array.shape}, but labels are one per example", "Give labels of shape [n].")


def features_source(
    X: Any, what: str, where: str, preprocess: Preprocess | None, values: Mapping[str, Any], notes: Sequence[str] = ()
) -> Source:
    """Take an array of features, and what goes with it, as a source."""
    if issparse(X):
        return Source(where, "sparse", X, **values, warnings=notes)
    check_texts(X, what)
    if X.dtype.kind in "US" and (X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)):
        table = pa.table({"text": pa.array(texts(X).tolist(), pa.large_string())})
        fit = partial(fit_table, roles=Roles(), options=ReadOptions(text=("text",)), where=where)
        return Source(where, "table", table, **values, fit=fit, warnings=notes)
    known = preprocess is not None and preprocess.kind != "table"
    form = preprocess.kind if preprocess is not None and known else array_form(X.shape, what)
    return Source(where, form, X, **values, warnings=notes)


def read_label_file(options: ReadOptions, n: int, what: str) -> tuple[np.ndarray, str]:
    """Read the labels of the training rows, in their order."""
    path = Path(options.labels or "")
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise DataError(Advice("{path} ({--labels}) {what}", path=path, what=what), "Name a file.")
    hint = note = ""
    if path.suffix == ".npy":
        array, note = one_label(np.asarray(read_npy(path)), str(path))
        labels = texts(array)
    elif path.suffix == ".txt":
        labels = _lines(path)
    elif Csv().detect(path):
        labels = _column(read_csv(path), options, path)
        hint = " The first line of a CSV file holds the column's name." if len(labels) == n - 1 else ""
    elif path.suffix in {".parquet", ".pq"}:
        labels = _column(read_parquet(path), options, path)
    else:
        ending = path.suffix or "no ending"
        problem = Advice("{path} ({--labels}) is of an unknown kind ({ending})", path=path, ending=ending)
        raise DataError(problem, "Give .npy, .csv, .parquet, or .txt with one label on a line.")
    if len(labels) != n:
        raise DataError(
            f"{what} has {n:,} examples, but {path} {len(labels):,} labels", f"Give every one a label.{hint}"
        )
    return labels, note


def _column(table: pa.Table, options: ReadOptions, path: Path) -> np.ndarray:
    names = table.column_names
    name = names[0] if len(names) == 1 and options.label is None else label_column(names, options, str(path))[0]
    return texts(table[name])


def _lines(path: Path) -> np.ndarray:
    try:
        check_size(str(path), path.stat().st_size)
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}", "Save it as UTF-8.") from error
    if not lines[-1]:
        lines.pop()
    return texts(np.array([line.strip() for line in lines], dtype=object))
