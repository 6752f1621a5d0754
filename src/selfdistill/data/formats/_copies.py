"""What copies of all formats share: which rows stay, what is added, and how tables and arrays are written."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import issparse

from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._labels import given_texts, texts
from selfdistill.data._limits import unpacked_name
from selfdistill.data._photos import readable
from selfdistill.data._roles import label_column, with_votes
from selfdistill.data._source import Source
from selfdistill.data._stored import save_sparse


class Endings(NamedTuple):
    """How a copy may be called."""

    text: str  # for messages
    taken: tuple[str, ...]  # ends of names in small letters; "": a name without an ending

    def check(self, out: Path, name: str, what: str) -> None:
        """Refuse a name whose ending does not fit what will be written."""
        if not any(out.name.lower().endswith(one) if one else not out.suffix for one in self.taken):
            raise DataError(f"{out} cannot take a copy of {name}, which is {what}", f"Choose a name with {self.text}.")


TEXT = Endings(".csv or .csv.gz", (".csv", ".csv.gz", ".tsv", ".tsv.gz"))
PARQUET = Endings(".parquet", (".parquet", ".pq"))
TABLE = Endings(".parquet or .csv", PARQUET.taken + TEXT.taken)
NPZ = Endings(".npz", (".npz",))
FOLDER = Endings("no ending (a folder)", ("",))


@dataclass(frozen=True)
class Edit:
    """What a copy changes. All values are one for each labelled row; rows without a label stay, with an empty value."""

    keep: np.ndarray | None = None  # which labelled rows stay, bool; ``None``: all
    column: tuple[str, Any] | None = None  # name and values of a new column
    beside: tuple[str, Any] | None = None  # of another one, which is left out where the source has one of its name
    labels: Sequence[str] | None = None  # new labels; those from before go into a column

    def added(self, names: Collection[str], where: Path | str) -> dict[str, Any]:
        """Give the new columns, for a source with columns of these names."""
        if self.column is None:
            return {}
        check_free(names, self.column[0], where)
        return dict([self.column] if self.beside is None or self.beside[0] in names else [self.column, self.beside])

    def stay(self, known: Sequence[bool] | np.ndarray, with_photo: Sequence[bool] | None = None) -> np.ndarray:
        """Say which of all rows stay; a refined copy holds none whose photo cannot be read."""
        stay = np.ones(len(known), dtype=bool)
        if self.labels is None and with_photo is not None:
            stay &= with_photo
        if self.keep is not None:
            stay[np.asarray(known, dtype=bool)] = self.keep
        return stay

    def relabelled(self, known: Sequence[bool] | np.ndarray, options: ReadOptions, where: Path | str) -> list[Any]:
        """New labels for all rows; ``None`` for those without a label."""
        assert self.labels is not None
        rows = int(np.sum(known)) if options.drop_unlabelled else len(known)
        if len(self.labels) != rows:
            raise DataError(
                f"{where} has {rows:,} labelled rows, but {len(self.labels):,} labels are given", "Give one for each."
            )
        return list(self.labels) if rows == len(known) else spread(known, self.labels, None)


def spread(known: Iterable[bool], values: Any, empty: Any) -> list[Any]:
    """Give rows without a label an empty value."""
    rest = iter(values)
    return [next(rest) if has_label else empty for has_label in known]


def check_free(names: Collection[str], name: str, where: Path | str, *, noise: bool = False) -> None:
    """Refuse a new column whose name is taken."""
    if name in names:
        before = "Name another for the labels from before."
        hint = before if noise else "Rename it in the source: what is there is never changed."
        raise DataError(f"{where} has a column {name!r} already", hint)


def labelled(
    table: pa.Table, options: ReadOptions, where: str, *, literal: bool
) -> tuple[list[bool], list[bool] | None]:
    """Say which rows of a table were learned from, and which have a photo where others may be left out."""
    if options.annotator:
        table, options, _ = with_votes(table, options, where)
    names = given_texts(
        table[label_column(table.column_names, options, where)[0]], drop=options.drop_unlabelled, literal=literal
    )
    known = [name is not None for name in names]
    if not (options.image_column and options.skip_bad):
        return known, None
    with_photo = readable(table, options, where)
    return [one and other for one, other in zip(known, with_photo, strict=True)], with_photo


def edit_table(table: pa.Table, edit: Edit, options: ReadOptions, where: str) -> pa.Table:
    """Change a table whose words are labels, whatever they are."""
    known, with_photo = labelled(table, options, where, literal=True)
    if edit.labels is not None:
        label, _ = label_column(table.column_names, options, where)
        name, before = f"{label}_before_noise", table[label]
        check_free(table.column_names, name, where, noise=True)
        labels = zip(edit.relabelled(known, options, where), texts(before), strict=True)
        new = pa.array([was if one is None else one for one, was in labels], pa.string())
        # The new labels are texts. Where Arrow has no cast from text to the old column's type (NotImplemented), or a
        # text is no value of it (Invalid), the column stays text, which every format writes.
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            new = new.cast(before.type)
        table = table.set_column(table.column_names.index(label), label, new).append_column(name, before)
    for name, values in edit.added(table.column_names, where).items():
        table = table.append_column(name, pa.array(spread(known, values, None)))
    stay = edit.stay(known, with_photo)
    return table if stay.all() else table.filter(pa.array(stay))


def save_table(table: pa.Table, out: Path) -> None:
    """Write a table as Parquet or, by the name of ``out``, as CSV, all at once or not at all."""
    if out.name.lower().endswith(PARQUET.taken):
        with atomic(out) as part:
            pq.write_table(table, part)
        return
    nested = [one.name for one in table.schema if pa.types.is_nested(one.type) or pa.types.is_binary(one.type)]
    if nested:
        raise DataError(f"{out} has no place for the lists of column {nested[0]!r}", "Choose a name with .parquet.")
    delimiter = "\t" if unpacked_name(out).endswith(".tsv") else ","
    with atomic(out) as part, part.open("wb") as raw, csv_text(raw, out) as file:
        file.write(csv_line(table.column_names, delimiter))
        for batch in table.to_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                file.write(csv_line(["" if cell is None else str(cell) for cell in row], delimiter))


def csv_line(cells: Sequence[str], delimiter: str) -> str:
    """Write a row that ends in a line feed; cells with either kind of line break are quoted."""
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return made.getvalue().removesuffix("\r\n") + "\n"


def csv_text(raw: IO[bytes], out: Path) -> io.TextIOWrapper:
    """Write text to an open file, through gzip where the name of ``out`` says so."""
    binary: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if out.suffix == ".gz" else raw
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")


def save_arrays(out: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz file, atomically."""
    with atomic(out) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def plain_labels(labels: Iterable[str | None]) -> np.ndarray:
    """Labels as an array of texts, "" where there is none."""
    return np.array(["" if label is None else label for label in labels], dtype=str)


def typed_labels(labels: Sequence[str | None], like: np.ndarray) -> np.ndarray:
    """Give labels the type of the array that they replace, where it can hold them."""
    plain = plain_labels(labels)
    if like.dtype.kind not in "iu":
        return plain
    try:
        numbers = plain.astype(np.int64)
    except ValueError:
        return plain
    typed = numbers.astype(like.dtype)
    return typed if (typed == numbers).all() else numbers


def whole_column(values: Any, known: np.ndarray, like: np.dtype[Any] | None = None) -> np.ndarray:
    """An array for all rows: NaN, "" or 0 where there is no label; texts as numbers of the type ``like``."""
    values = np.asarray(values)
    if values.dtype.kind in "OU":
        values = values.astype(str) if like is None else values.astype(np.float64).astype(like)
    empty = np.nan if values.dtype.kind == "f" else "" if values.dtype.kind == "U" else 0
    whole = np.full(len(known), empty, values.dtype)
    whole[known] = values
    return whole


def _features(found: Source) -> dict[str, np.ndarray]:
    """Give the features of a source as arrays that are read alike."""
    if issparse(found.features):
        return save_sparse(found.features)
    if found.form == "table":
        return {"X": np.array([cell or "" for cell in found.features[0].to_pylist()])}
    return {"X": np.asarray(found.features)}


def edit_source(found: Source, edit: Edit, options: ReadOptions, where: str) -> dict[str, np.ndarray]:
    """Give what was read as arrays that are read alike: X, y, truth and ids."""
    known = np.array([name is not None for name in texts(found.labels)])
    new = None if edit.labels is None else edit.relabelled(known, options, where)
    stay = edit.stay(known)
    kept = found if edit.keep is None else found.take(stay)
    before = plain_labels(texts(kept.labels))
    labels = {"y": before} if new is None else {"y": plain_labels(new), "truth": before}
    arrays = _features(kept) | labels | {"ids": kept.named().astype(str)}
    return arrays | {name: whole_column(one, known)[stay] for name, one in edit.added(arrays, where).items()}


@contextmanager
def new_folder(out: Path) -> Generator[Path]:
    """Give a folder beside ``out``, which becomes it at the end, or is removed where that is not reached."""
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        yield part
        part.chmod(0o755)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def link_or_copy(file: Path, target: Path) -> None:
    """Link a file; copy it to another file system."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)
