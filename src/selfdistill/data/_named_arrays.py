"""Which of a file's arrays are what: by their names, as people and libraries give them, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._array_features import features_source
from selfdistill.data._label_arrays import check_texts, one_label
from selfdistill.data._label_file import read_label_file
from selfdistill.data._labels import near_matches
from selfdistill.data._options import ReadOptions
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

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
    arrays: Collection[str], names: tuple[str, ...], told: str | None, path: Path | str, option: str
) -> str | None:
    """Choose an array by name."""
    if told is not None:
        if told not in arrays:
            raise DataError(f"{path} has no array {told!r} ({option})", near_matches(told, arrays))
        return told
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
    arrays: Mapping[str, Any], told: str | None, inputs: str | None, part: str, path: Path | str
) -> str | None:
    if told is not None or not part:
        found = find_key(arrays, LABEL_KEYS, told, path, "--label")
        second = found is None and inputs == "arr_0" and "arr_1" in arrays
        return (
            "arr_1" if second and np.ndim(arrays["arr_1"]) and len(arrays["arr_1"]) == len(arrays["arr_0"]) else found
        )
    return _of_part(arrays, part, LABEL_KEYS)


def truth_key(arrays: Mapping[str, Any]) -> str | None:
    """Give the array of the true labels, if there is one."""
    return find_key(arrays, TRUTH_KEYS, None, "", "")


def _input_key(arrays: Mapping[str, Any], options: ReadOptions, part: str, path: Path | str) -> tuple[str | None, str]:
    """Find the array of inputs, and "train" or "test" where the file has such parts."""
    new = part != "train"
    if options.inputs is not None and (not new or options.inputs in arrays):
        key = find_key(arrays, (), options.inputs, path, "--inputs")
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


def refuse_objects(where: Path | str, name: str) -> NoReturn:
    """Say why an array of objects is not read."""
    raise DataError(
        f"{where}: {name}.npy holds Python objects, which are not read: they could run code",
        "Save texts as an array of type str: numpy.asarray(texts, dtype=str).",
    )


def _suggested(arrays: Mapping[str, Any]) -> str:
    """Propose the only array that can be features and the only one that can be labels."""
    wide = [name for name, one in arrays.items() if np.ndim(one) > 1 and np.asarray(one).dtype.kind in "fiub"]
    if len(wide) != 1:
        return ""
    long = [name for name, one in arrays.items() if np.ndim(one) == 1 and len(one) == len(arrays[wide[0]])]
    return f"Did you mean --inputs {wide[0]}{f' --label {long[0]}' if len(long) == 1 else ''}? "


def arrays_source(
    arrays: Mapping[str, Any],
    path: Path,
    options: ReadOptions,
    part: str,
    preprocess: Preprocess | None,
    *,
    objects: Collection[str] = (),
) -> Source | None:
    """Say which arrays of a file are what."""
    new = part != "train"
    for told in (options.inputs, *(() if new else (options.label, options.truth, options.id))):
        if told is not None and told in objects:
            refuse_objects(path, told)
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
        find_key(arrays, (), name, path, "--ignore")
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
    return features_source(X, f"{path}: {key!r}", str(path), preprocess, values, notes)


def _chosen(
    arrays: Mapping[str, Any], options: ReadOptions, key: str, split: str, path: Path, *, new: bool, from_file: bool
) -> dict[str, str | None]:
    """Name the arrays that go with the inputs."""

    def told(name: str | None) -> str | None:
        return name if not new or name in arrays else None

    label = told(options.label)
    if new and split == "test" and label is not None and part_of(label)[0] == "train":
        label = None  # that of training was told; the test part has its own
    return {
        "labels": None if from_file else _label_of(arrays, label, key, split, path),
        "truth": find_key(arrays, () if split else TRUTH_KEYS, None if new else options.truth, path, "--truth"),
        "ids": find_key(arrays, () if split else ID_KEYS, told(options.id), path, "--id"),
    }


def _refuse_missing(
    arrays: Mapping[str, Any], path: Path, objects: Collection[str], names: tuple[str, ...], what: str
) -> NoReturn:
    held = [name for name in objects if name.lower() in {one.lower() for one in names} or part_of(name)[1] in names]
    if held:
        refuse_objects(path, held[0])
    option = "--inputs" if what == "inputs" else "--label"
    more = "" if what == "inputs" else ", or give a file with --labels"
    raise DataError(
        f"{path} has no {what}; it holds {', '.join(map(repr, [*arrays, *objects]))}",
        f"{_suggested(arrays)}Name them one of {', '.join(names)}, or say which with {option}{more}.",
    )
