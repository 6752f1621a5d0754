"""Data sets of the Hugging Face library `datasets`, saved to disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.errors import DataError, one_line
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._labels import given_texts, near_matches
from selfdistill.data._photos import photo_source, read_photos
from selfdistill.data._pixels import Encoded
from selfdistill.data._place import Place
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._roles import LABEL_NAMES, label_column
from selfdistill.data._source import Source, table_source
from selfdistill.data._table import TablePreprocess
from selfdistill.data.formats._copies import Edit, Endings, check_free, new_folder, spread
from selfdistill.data.formats._format import OF_TABLES, Format, Request


def _names(feature: Any, values: Any) -> list[Any]:
    """Class names where the feature knows them; −1 is its sign for a missing label."""
    names = getattr(feature, "names", None)
    if names is None:
        return list(values)
    return [None if value is None or value < 0 else names[value] for value in values]


def _image_columns(dataset: Any, options: ReadOptions) -> list[str]:
    """Name the columns of images that are not left out."""
    features = dataset.features.items()
    return [name for name, one in features if type(one).__name__ == "Image" and name not in options.ignore]


def _hf_table(dataset: Any) -> pa.Table:
    """Take one split without images as a table; class labels go by name."""
    plain = dataset.with_format("arrow")[:]
    table = plain if isinstance(plain, pa.Table) else pa.table(plain)
    for place, name in enumerate(table.column_names):
        if getattr(dataset.features[name], "names", None) is not None:
            cells = _names(dataset.features[name], table[name].to_pylist())
            table = table.set_column(place, name, pa.array(cells, pa.large_string()))
    return table


def split_source(
    dataset: Any,
    options: ReadOptions,
    where: str,
    *,
    new: bool = False,
    made: Preprocess | None = None,
    only_files: bool = False,
) -> Source:
    """Take one split as a source."""
    images = _image_columns(dataset, options)
    if not images:
        roles = made.roles if isinstance(made, TablePreprocess) else None
        return replace(table_source(_hf_table(dataset), options, where, roles), literal=True)
    if len(images) > 1:
        raise DataError(f"{where} has the image columns {', '.join(images)}", "Leave out all but one with ignore.")
    names = list(dataset.column_names)
    label: str | None = None
    notes: list[str] = []
    if not new or any(name.lower() in LABEL_NAMES for name in names):
        label, notes = label_column(names, options, where)
    for column in (options.id, options.truth):
        if column is not None and column not in names:
            raise DataError(f"{where} has no column {column!r}", near_matches(column, names))
    pictures = read_photos(_encoded(dataset, images[0], where), where, where, options, made, names=only_files)

    def cells(name: str | None) -> list[Any] | None:
        if name is None:
            return None
        values = _names(dataset.features[name], dataset[name])
        return [values[place] for place in pictures.places]

    labels, ids, truth = map(cells, (label, options.id, options.truth))
    return photo_source(pictures, where, notes, labels=labels, ids=ids, truth=truth)


def _encoded(dataset: Any, name: str, where: str) -> list[Path | Encoded]:
    """The files of a column of images, as they are stored."""
    cells = dataset.with_format("arrow")[:][name].to_pylist()
    pictures: list[Path | Encoded] = []
    for row, cell in enumerate(cells):
        data, path = (None, None) if cell is None else (cell["bytes"], cell["path"])
        if data is None and path is None:
            raise DataError(f"{where} has no image in row {row} (counted from 0)", "Leave the row out.")
        pictures.append(Path(str(path)) if data is None else Encoded(f"row {row}", data))
    return pictures


@final
class SavedHf(Format):
    """A data set, or one with splits, that `save_to_disk` wrote: a table, or images."""

    name, what, shown = "saved-hf", "a saved Hugging Face data set", "a saved Hugging Face data set"
    gives = frozenset({"table", "image", "encoded"})
    uses = OF_TABLES - {"image_column"}
    folder = True

    def detect(self, path: Path) -> bool:
        single = (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
        return single or (path / "dataset_dict.json").is_file()

    def load(self, request: Request) -> Source | None:
        dataset = _split(request.place, request.part)
        if dataset is None:
            return None
        options, name, new = request.options, request.place.name, request.part == "new"
        with _undamaged(request.place):
            return split_source(dataset, options, name, new=new, made=request.preprocess, only_files=request.names)

    def table(self, place: Place, options: ReadOptions) -> pa.Table | None:
        dataset = _split(place, "train")
        with _undamaged(place):
            return None if _image_columns(dataset, options) else _hf_table(dataset)

    def endings(self, edit: Edit) -> Endings:
        taken = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".npz")
        if edit.labels is not None:
            return Endings(".parquet or .csv, of images .npz", taken)
        return Endings("no ending (a saved data set), .parquet or .csv, of images .npz", ("", *taken))

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Write a saved data set with all features as they are; or, by the ending, a table or arrays."""
        if out.suffix or edit.labels is not None:
            super().copy(place, options, out, edit)
            return
        if options.annotator or options.skip_bad:
            flag = Flag("annotator" if options.annotator else "skip_bad")
            what = "{name} was read with {flag}, which a saved data set cannot follow row by row"
            hint = Advice("Name a file: {--out} FILE.parquet, or of images FILE.npz.")
            raise DataError(Advice(what, name=place.name, flag=flag), hint)
        dataset = _split(place, "train")
        with _undamaged(place):
            label, _ = label_column(list(dataset.column_names), options, place.name)
            feature = dataset.features[label]
            given = given_texts(_names(feature, dataset[label]), drop=options.drop_unlabelled, literal=True)
        known = [name is not None for name in given]
        if edit.column is not None:
            name, values = edit.column
            check_free(dataset.column_names, name, place.name)
            cells = spread(known, values.tolist() if isinstance(values, np.ndarray) else values, None)
            like = feature if name == "refined_label" else None
            if getattr(like, "names", None) is not None:  # labels as the feature of the given ones holds them
                cells = [-1 if cell is None else feature.str2int(cell) for cell in cells]
            elif like is not None:
                cells = pa.array(cells, pa.string()).cast(feature.pa_type).to_pylist()
            dataset = dataset.add_column(name, cells, feature=like)
        if edit.keep is not None:
            dataset = dataset.select(np.flatnonzero(edit.stay(known)))
        with new_folder(out) as part:
            dataset.save_to_disk(str(part))


@contextmanager
def _undamaged(place: Place) -> Generator[None]:
    """Say in one line what `datasets` and Pillow raise on damaged files, which may be anything."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{place.name} is damaged or not a saved data set: {one_line(error) or type(error).__name__}",
            "Save it again.",
        ) from error


def _split(place: Place, part: str) -> Any:
    """The split that was named; else that of training or, for "test", the one called test."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{place.name} is a saved Hugging Face data set, and reading it needs datasets",
            "pip install 'selfdistill[hf]'.",
        ) from None
    datasets.disable_progress_bars()
    with _undamaged(place):
        dataset = datasets.load_from_disk(str(place.path))
        for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
            for stored in filter(None, (split.data, split._indices)):  # offsets that lead out would be followed
                stored.table.validate(full=True)
    if not isinstance(dataset, dict):
        if place.part:
            raise DataError(f"{place.path} has no splits, but {place.part!r} was named", f"Name {place.path} alone.")
        return None if part == "test" else dataset
    if place.part:
        if place.part not in dataset:
            raise DataError(f"{place.path} has no split {place.part!r}", near_matches(place.part, dataset))
        return None if part == "test" else dataset[place.part]
    if part == "test" or (part == "new" and "test" in dataset):
        return dataset.get("test")
    if "train" not in dataset:
        names = ", ".join(map(repr, dataset))
        raise DataError(
            f"{place.name} has no split 'train', but {names}", f"Name one: {place.path}::{next(iter(dataset))}."
        )
    return dataset["train"]
