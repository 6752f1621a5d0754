"""Arrays: npz, npy and safetensors files, and folders of npy files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import quoted
from selfdistill.data._labels import texts
from selfdistill.data._limits import check_size
from selfdistill.data._place import Place
from selfdistill.data._source import Source
from selfdistill.data._stored import SPARSE_NAMES, as_arrays, read_npy, read_npz, read_tensors, sparse_of, stays_on_disk
from selfdistill.data.formats._copies import NPZ, Edit, Endings, check_free, save_arrays, typed_labels, whole_column
from selfdistill.data.formats._format import VECTORS, Format, Request
from selfdistill.data.formats._named_arrays import (
    LABEL_KEYS,
    TRUTH_KEYS,
    arrays_source,
    features_source,
    label_key,
    one_label,
    part_of,
    read_label_file,
)

_NAMED = frozenset({"label", "id", "ignore", "truth", "drop_unlabelled", "inputs", "labels"})


@final
class Npz(Format):
    """Arrays by name, or a sparse matrix."""

    name, what, shown = "npz", "a file of arrays", "npz"
    gives = VECTORS | {"table"}
    uses = _NAMED
    ends = (".npz",)

    def load(self, request: Request) -> Source | None:
        path, objects = request.place.path, list[str]()
        arrays: dict[str, Any] = dict(read_npz(path, mapped=request.mapped, objects=objects))
        matrix = sparse_of(arrays, path)
        if matrix is not None:
            arrays = {"X": matrix} | {name: one for name, one in arrays.items() if name not in SPARSE_NAMES}
        source = arrays_source(arrays, request, objects=objects)
        return source and replace(source, mapped=request.mapped and stays_on_disk(source.features))

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Copy all arrays but those of objects."""
        path = place.path
        arrays: dict[str, Any] = read_npz(path, objects=[])
        if sparse_of(arrays, path) is not None or (edit.labels is not None and options.labels is not None):
            super().copy(place, options, out, edit)
        else:
            save_arrays(out, _edit_arrays(self, arrays, place, options, edit))


@final
class Safetensors(Format):
    """Tensors, named as the arrays of an npz file are."""

    name, what, shown = "safetensors", "a file of tensors", "safetensors"
    gives = VECTORS
    uses = _NAMED
    ends = (".safetensors",)

    def load(self, request: Request) -> Source | None:
        return arrays_source(as_arrays(read_tensors(request.place.path)[0]), request)

    def endings(self, edit: Edit) -> Endings:
        return Endings(".safetensors or .npz", (".safetensors", ".npz")) if edit.labels is None else NPZ

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Copy all tensors; in a safetensors file, which holds numbers alone, they keep their types."""
        if edit.labels is not None:
            super().copy(place, options, out, edit)
            return
        tensors, metadata = read_tensors(place.path)
        arrays: dict[str, Any] = as_arrays(tensors)
        if out.suffix != ".safetensors":
            save_arrays(out, _edit_arrays(self, arrays, place, options, edit))
            return
        from safetensors.torch import save_file

        if options.labels is not None:
            raise DataError(f"{out} cannot also hold the labels of {options.labels}", "Choose a name with .npz.")
        known = _known(self, arrays, place, options)
        for name, values in edit.added(tensors, place.name).items():
            like = arrays[label_key(arrays, options, place.path) or ""].dtype
            tensors[name] = torch.from_numpy(whole_column(values, known, like))
        if edit.keep is not None:
            kept = _rows(tensors, torch.from_numpy(edit.stay(known)))
            tensors = {name: one.contiguous() for name, one in kept.items()}
        with atomic(out) as part:
            save_file(tensors, part, metadata or None)


@final
class Npy(Format):
    """One array; the labels of training lie in a file of their own."""

    name, what, shown = "npy", "an array", "npy"
    gives = VECTORS | {"table"}
    uses = frozenset({"label", "labels", "drop_unlabelled"})
    ends = (".npy",)

    def load(self, request: Request) -> Source | None:
        path = request.place.path
        if request.part == "test":
            return None
        if request.part == "train" and request.options.labels is None:
            raise DataError(
                f"{path} has no labels: an npy file holds one array",
                _beside(path)
                + Advice("Give them with {--labels} FILE: .npy, .csv, .parquet, or .txt with one label on a line."),
            )
        X, labels, note = read_npy(path, mapped=request.mapped), None, ""
        if request.part == "train":
            labels, note = read_label_file(request.options, len(X) if X.ndim else 0, str(path))
        source = features_source(
            X, str(path), str(path), request.preprocess, {"labels": labels}, [note] if note else []
        )
        return replace(source, mapped=request.mapped and stays_on_disk(X))


@final
class NpyFolder(Format):
    """The npy files of a folder are the arrays of one file, each named as its file is."""

    name, what, shown = "npy-folder", "a folder of arrays", "npy files"
    gives = VECTORS | {"table"}
    uses = _NAMED
    folder = True

    def detect(self, path: Path) -> bool:
        return path.is_dir() and sum(file.suffix == ".npy" for file in path.iterdir()) > 1

    def load(self, request: Request) -> Source | None:
        path = request.place.path
        files = sorted(file for file in path.iterdir() if file.suffix == ".npy" and file.is_file())
        check_size(str(path), sum(file.stat().st_size for file in files))
        return arrays_source({file.stem: read_npy(file) for file in files}, request)


def _beside(path: Path) -> str:
    """Propose a file beside that is named like labels."""
    part, _ = part_of(path.stem)
    for file in sorted(path.parent.iterdir()):
        own, name = part_of(file.stem)
        if name in LABEL_KEYS and own == part and file.suffix in {".npy", ".csv", ".parquet", ".txt"}:
            return Advice("Did you mean {--labels} {file}? ", file=quoted(file))
    return ""


def _known(form: Format, arrays: dict[str, Any], place: Place, options: ReadOptions) -> np.ndarray:
    """Say which rows have a label; labels from a file of their own join the arrays."""
    if options.labels is None:
        key = label_key(arrays, options, place.path) or ""
        return np.array([name is not None for name in texts(one_label(arrays[key], key)[0])])
    source = form.load(Request(place, options))
    assert source is not None
    names = texts(source.labels)
    arrays["given_label"] = np.array(["" if name is None else name for name in names])
    return np.array([name is not None for name in names])


def _edit_arrays(
    form: Format, arrays: dict[str, Any], place: Place, options: ReadOptions, edit: Edit
) -> dict[str, Any]:
    if edit.labels is not None:
        key = label_key(arrays, options, place.path)
        if key is None:
            raise DataError(f"{place.name} has no labels", Advice("Say which array holds them with {--label}."))
        before, _ = one_label(arrays[key], f"{place.name}: {key!r}")
        new = edit.relabelled([name is not None for name in texts(before)], options, place.name)
        taken = any(name in arrays for name in TRUTH_KEYS) or part_of(key)[0] == "train"
        name = f"{key}_before_noise" if taken else "truth"
        check_free(arrays, name, place.name, noise=True)
        return arrays | {key: typed_labels(new, before), name: before}
    known = _known(form, arrays, place, options)
    stay = edit.stay(known)
    if edit.keep is not None:
        arrays = _rows(arrays, stay)
    return arrays | {name: whole_column(one, known)[stay] for name, one in edit.added(arrays, place.name).items()}


def _rows(arrays: dict[str, Any], stay: Any) -> dict[str, Any]:
    """Leave rows out of every array of the training part that has one entry for each."""
    split = any(part_of(name)[0] == "train" for name in arrays)

    def has_rows(name: str, array: Any) -> bool:
        other = split and part_of(name)[0] in {"test", "held"}
        return array.ndim > 0 and len(array) == len(stay) and not other

    return {name: array[stay] if has_rows(name, array) else array for name, array in arrays.items()}
