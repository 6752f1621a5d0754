"""A copy of a data set with other labels, in the same form, that keeps the labels from before."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill.data._csv import csv_rows
from selfdistill.data._dialect import Dialect, find_dialect
from selfdistill.data._idx import IdxPair, find_idx, parse_idx, truth_name, write_idx
from selfdistill.data._label_arrays import one_label
from selfdistill.data._labels import given_texts, texts
from selfdistill.data._limits import unpacked_name
from selfdistill.data._named_arrays import TRUTH_KEYS, label_key, part_of
from selfdistill.data._npz import read_npz, save_sparse, sparse_of
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import find_place
from selfdistill.data._read import find_format, load
from selfdistill.data._roles import label_column
from selfdistill.data._source import Source
from selfdistill.data.formats import Format

if TYPE_CHECKING:
    import pyarrow as pa


def write_with_labels(
    source: Path | str,
    options: ReadOptions,
    labels: Sequence[str],
    out: Path | str,
    *,
    original: str | None = None,
) -> Path:
    """Write a copy whose labels are others, all at once or not at all.

    CSV and Parquet keep every other cell as it stands and get a column with the labels from before, as do other tables,
    which become Parquet or CSV; npz gets an array
    ``truth`` (or, where it has one, ``<label>_before_noise``); an IDX folder gets a file like
    ``train-truth-idx1-ubyte`` beside its images, which reading takes as the truth. Every other source is written as npz
    with ``X``, ``y``, ``truth`` and ``ids``.

    Args:
        source: See `read`.
        options: As for reading it; ``drop_unlabelled``: rows without a label stay as they are.
        labels: One per row that has a label, in the rows' order.
        out: File or folder to write; it must not exist. Its ending must fit the form.
        original: Name of the column with the labels from before; ``None``: ``<label>_before_noise``.

    Returns:
        ``out``.

    Raises:
        DataError: ``out`` exists or has another ending, the number of labels differs, or the column is there already.
    """
    out, place = Path(out), find_place(source)
    if out.exists():
        raise DataError(f"{out} exists already", "Choose another --out, or remove it first.")
    if options.annotator:
        raise DataError(
            "noise changes one column of labels, but --annotator names several",
            "Write their majority as a column first.",
        )
    form, path = find_format(place), place.path
    check_ending(out, form, place.name, {"idx": "no ending (a folder)"})
    table = None if form.name == "csv" or form.table is None else form.table(place, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    if form.name == "csv":
        _write_csv(path, options, list(labels), out, original)
    elif table is not None:
        _write_table(table, place.name, options, list(labels), out, original)
    elif form.name == "npz" and options.labels is None and plain_arrays(path) is not None:
        _write_npz(path, options, list(labels), out, original)
    elif form.name == "idx":
        _write_idx(path, list(labels), out)
    else:
        _write_arrays(source, options, list(labels), out)
    return out


def check_ending(out: Path, form: Format, name: str, others: Mapping[str, str]) -> None:
    """Refuse a name whose ending does not fit what will be written."""
    text = out.name.lower().endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz"))
    parquet = out.suffix in {".parquet", ".pq"}
    if form.name == "csv":
        fits, said = text, ".csv or .csv.gz"
    elif form.name == "parquet":
        fits, said = parquet, ".parquet"
    elif form.gives == {"table"}:
        fits, said = text or parquet, ".parquet or .csv"
    elif "table" in form.gives and form.folder:  # a saved data set holds a table or images
        fits, said = text or parquet or out.suffix == ".npz", ".parquet or .csv, of images .npz"
    else:
        said = others.get(form.name, ".npz")
        fits = out.suffix in said.split() or (not out.suffix and said.startswith("no ending"))
    if not fits:
        raise DataError(f"{out} cannot take a copy of {name}, which is {form.what}", f"Choose a name with {said}.")


def _merged(given: np.ndarray, labels: list[str], options: ReadOptions, where: Path | str) -> list[str | None]:
    """New labels for the rows that have one; the others stay without."""
    known = [label is not None for label in given]
    rows = sum(known) if options.drop_unlabelled else len(given)
    if len(labels) != rows:
        raise DataError(
            f"{where} has {rows:,} labelled rows, but {len(labels):,} labels are given", "Give one for each."
        )
    if rows == len(given):
        return list(labels)
    new = iter(labels)
    return [next(new) if there else None for there in known]


def _new_column(names: Sequence[str], label: str, original: str | None) -> str:
    name = original or f"{label}_before_noise"
    if name in names:
        raise DataError(f"the source has a column {name!r} already", "Name another for the labels from before.")
    return name


def _write_csv(source: Path, options: ReadOptions, labels: list[str], out: Path, original: str | None) -> None:
    dialect = find_dialect(source, options.encoding)
    rows = csv_rows(source, dialect)
    header = next(rows)
    label, _ = label_column(header, options, str(source))
    place, name = header.index(label), _new_column(header, label, original)
    given = given_texts([row[place] for row in rows], drop=options.drop_unlabelled)
    merged = _merged(given, labels, options, source)
    delimiter = out_separator(out, dialect)
    with atomic(out) as part, part.open("wb") as raw, csv_text(raw, out) as file:
        file.write(csv_line([*header, name], delimiter))
        rows = csv_rows(source, dialect)
        next(rows)
        for row, new in zip(rows, merged, strict=True):
            cells = [*row[:place], row[place] if new is None else new, *row[place + 1 :], row[place]]
            file.write(csv_line(cells, delimiter))


def out_separator(out: Path, dialect: Dialect) -> str:
    """Give what separates the fields of a copy: a tab in TSV files, else what separates those of the source."""
    return "\t" if unpacked_name(out).endswith(".tsv") else dialect.separator


def csv_line(cells: Sequence[str], delimiter: str) -> str:
    """Write a row that ends in a line feed; cells with either kind of line break are quoted."""
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return made.getvalue().removesuffix("\r\n") + "\n"


def csv_text(raw: IO[bytes], out: Path) -> io.TextIOWrapper:
    """Write text to an open file, through gzip where the name of ``out`` says so."""
    binary: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if out.suffix == ".gz" else raw
    return io.TextIOWrapper(binary, encoding="utf-8", newline="")


def _write_table(
    table: pa.Table, where: str, options: ReadOptions, labels: list[str], out: Path, original: str | None
) -> None:
    import pyarrow as pa

    label, _ = label_column(table.column_names, options, where)
    name = _new_column(table.column_names, label, original)
    before = table[label]
    merged = pa.array(_merged(given_texts(before, literal=True), labels, options, where), pa.string())
    with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # no text casts to that type: new labels are texts
        merged = merged.cast(before.type)
    save_table(table.set_column(table.column_names.index(label), label, merged).append_column(name, before), out)


def save_table(table: pa.Table, out: Path) -> None:
    """Write a table as Parquet or, by the name of ``out``, as CSV, all at once or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out.suffix in {".parquet", ".pq"}:
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


def save_arrays(out: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz file, atomically."""
    with atomic(out) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _typed(labels: Sequence[str | None], like: np.ndarray) -> np.ndarray:
    """Give labels the type of the array that they replace, where it can hold them."""
    plain = np.array(["" if label is None else label for label in labels], dtype=str)
    if like.dtype.kind in "iu":
        try:
            numbers = plain.astype(np.int64)
        except ValueError:
            return plain
        typed = numbers.astype(like.dtype)
        return typed if (typed == numbers).all() else numbers
    return plain


def plain_arrays(path: Path) -> dict[str, Any] | None:
    """Read the arrays of an npz file for a copy, without those of Python objects."""
    arrays = read_npz(path, objects=[])
    return arrays if sparse_of(arrays, path) is None else None


def _write_npz(source: Path, options: ReadOptions, labels: list[str], out: Path, original: str | None) -> None:
    arrays = read_npz(source, objects=[])
    key = label_key(arrays, options, source)
    if key is None:
        raise DataError(f"{source} has no labels", "Say which array holds them with --label.")
    before, _ = one_label(arrays[key], f"{source}: {key!r}")
    merged = _merged(texts(before), labels, options, source)
    taken = any(name in arrays for name in TRUTH_KEYS) or part_of(key)[0] == "train"
    name = original or (f"{key}_before_noise" if taken else "truth")
    if name in arrays:
        raise DataError(f"{source} has an array {name!r} already", "Name another for the labels from before.")
    save_arrays(out, arrays | {key: _typed(merged, before), name: before})


def _write_idx(source: Path, labels: list[str], out: Path) -> None:
    pair = find_idx(source, "train")
    if pair is None or pair.labels is None:
        raise DataError(f"{source} has no labels file", "Give a folder with images and labels.")
    given = parse_idx(pair.labels)
    _merged(texts(given), labels, ReadOptions(), source)
    typed = _typed(labels, given)
    if typed.dtype.kind not in "iu":
        raise DataError(
            f"IDX files hold whole numbers, not labels such as {labels[0]!r}", "Give the labels as numbers."
        )
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        _fill_idx(folder, IdxPair(pair.images, pair.labels), given, typed)
        folder.chmod(0o755)
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill_idx(folder: Path, pair: IdxPair, given: np.ndarray, labels: np.ndarray) -> None:
    assert pair.labels is not None
    replaced = {pair.labels.name.removesuffix(".gz"), truth_name(pair.images)}
    for file in pair.images.parent.iterdir():
        if file.is_file() and "idx" in file.name and file.name.removesuffix(".gz") not in replaced:
            try:
                os.link(file, folder / file.name)
            except OSError:  # another file system
                shutil.copy2(file, folder / file.name)
    write_idx(folder / pair.labels.name.removesuffix(".gz"), labels)
    write_idx(folder / truth_name(pair.images), given)


def _write_arrays(source: Path | str, options: ReadOptions, labels: list[str], out: Path) -> None:
    found = load(source, options)
    assert found is not None
    before = texts(found.labels)
    merged = _merged(before, labels, options, source)
    arrays = {"y": _typed(merged, np.array([], dtype=str)), "truth": _typed(before.tolist(), np.array([], dtype=str))}
    save_arrays(out, {**feature_arrays(found), **arrays, "ids": found.named().astype(str)})


def feature_arrays(found: Source) -> dict[str, np.ndarray]:
    """Give the features of a source as arrays that are read alike."""
    if issparse(found.features):
        return save_sparse(found.features)
    if found.form == "table":
        return {"X": np.array([cell or "" for cell in found.features[0].to_pylist()])}
    return {"X": np.asarray(found.features)}
