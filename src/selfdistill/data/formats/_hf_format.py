"""Data sets that the Hugging Face library `datasets` saved to disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.errors import DataError
from selfdistill.data._hf import hf_source, hf_table, image_columns
from selfdistill.data._labels import near_matches
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import Place
from selfdistill.data._source import Source
from selfdistill.data.formats._format import OF_TABLES, Format

if TYPE_CHECKING:
    import pyarrow as pa

    from selfdistill.data._preprocess import Preprocess


def _detect(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (
        (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    )


@contextmanager
def _undamaged(place: Place) -> Generator[None]:
    """Say in one line what `datasets` and Pillow raise on damaged files, which may be anything."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{place.name} is damaged or no saved data set: {line}", "Save it again.") from error


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
        found = datasets.load_from_disk(str(place.path))
    if not isinstance(found, dict):
        if place.part:
            raise DataError(f"{place.path} has no splits, but {place.part!r} was named", f"Name {place.path} alone.")
        return None if part == "test" else found
    if place.part:
        if place.part not in found:
            raise DataError(f"{place.path} has no split {place.part!r}", near_matches(place.part, found))
        return None if part == "test" else found[place.part]
    if part == "test" or (part == "new" and "test" in found):
        return found.get("test")
    if "train" not in found:
        names = ", ".join(map(repr, found))
        raise DataError(
            f"{place.name} has no split 'train', but {names}", f"Name one: {place.path}::{next(iter(found))}."
        )
    return found["train"]


def _load(place: Place, options: ReadOptions, part: str, preprocess: Preprocess | None, mapped: bool) -> Source | None:
    from selfdistill.data._images import ImagePreprocess
    from selfdistill.data._table import TablePreprocess

    dataset = _split(place, part)
    if dataset is None:
        return None
    roles = preprocess.roles if isinstance(preprocess, TablePreprocess) else None
    made = preprocess if isinstance(preprocess, ImagePreprocess) else None
    with _undamaged(place):
        return hf_source(dataset, options, place.name, roles, new=part == "new", made=made)


def _table(place: Place, options: ReadOptions) -> pa.Table | None:
    dataset = _split(place, "train")
    with _undamaged(place):
        return None if image_columns(dataset, options) else hf_table(dataset)


SAVED_HF = Format(
    "saved-hf",
    "a saved Hugging Face data set",
    "a saved Hugging Face data set",
    _detect,
    _load,
    frozenset({"table", "image"}),
    OF_TABLES | {"image_size"},
    _table,
    folder=True,
)
