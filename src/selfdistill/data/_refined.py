"""A copy of a data set with rows left out or a column added; what was there stays as it is."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.folder import named_folder
from selfdistill.data._csv import csv_mark, csv_records, csv_rows
from selfdistill.data._dialect import find_dialect
from selfdistill.data._label_arrays import one_label
from selfdistill.data._labels import given_texts, text_of, texts
from selfdistill.data._named_arrays import label_key, part_of
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import STANDARD_INPUT, find_place
from selfdistill.data._read import find_format, load
from selfdistill.data._roles import label_column
from selfdistill.data._safetensors import as_arrays, read_tensors
from selfdistill.data._source import Source, known_labels
from selfdistill.data._votes import with_votes
from selfdistill.data._write import (
    check_ending,
    csv_line,
    csv_text,
    feature_arrays,
    out_separator,
    plain_arrays,
    save_arrays,
    save_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

_ENDINGS = {"folder": "no ending (a folder) or .csv (a list)", "safetensors": ".safetensors or .npz"}


def check_new(source: Path | str, out: Path) -> None:
    """Refuse a place that would overwrite or mix with the source.

    Args:
        source: The data set.
        out: Where the copy shall go.

    Raises:
        DataError: ``out`` is the source, lies in it, or exists.
    """
    if str(source) != STANDARD_INPUT:
        origin, place = find_place(source).path.resolve(), out.resolve()
        if place == origin or origin in place.parents:
            where = "is the source itself" if place == origin else f"lies in the source {source}"
            raise DataError(f"--out {out} {where}, which is never changed", "Choose another --out.")
    if out.exists():
        raise DataError(f"{out} exists already", "Choose another --out, or remove it first.")


def labelled_rows(source: Path | str, options: ReadOptions) -> tuple[np.ndarray, np.ndarray]:
    """Read what names the rows that training saw.

    Args:
        source: The data set.
        options: As for training.

    Returns:
        Ids and given labels, texts.
    """
    found = load(source, options)
    assert found is not None
    found = known_labels(found, options)
    return found.named(), found.labels


def labelled_cells(source: Path | str, options: ReadOptions) -> list[dict[str, str]]:
    """Read the rows that training saw as they stand in a table.

    Args:
        source: The data set.
        options: As for training.

    Returns:
        For each labelled row its cells by column, texts; nothing where the source is no table.
    """
    place = find_place(source)
    form = find_format(place)
    rows: list[list[str]]
    if form.name == "csv":
        names, *rows = csv_rows(place.path, find_dialect(place.path, options.encoding))
        known = _known_cells(names, rows, options, source)
    else:
        table = None if form.table is None else form.table(place, options)
        if table is None:
            return []
        names, known = table.column_names, _known_of(table, options, place.name)
        rows = [["" if v is None else str(v) for v in row.values()] for row in table.to_pylist()]
    return [dict(zip(names, row, strict=True)) for row, there in zip(rows, known, strict=True) if there]


def write_refined(
    source: Path | str,
    options: ReadOptions,
    out: Path,
    *,
    keep: np.ndarray | None = None,
    column: tuple[str, Sequence[str] | np.ndarray] | None = None,
) -> Path:
    """Write the copy, all at once or not at all.

    CSV stays CSV and Parquet stays Parquet; other tables become Parquet or CSV. Rows stay in their order, and the cells
    that were there unchanged (of CSV byte by byte, with quotation, ends of lines and mark; in UTF-8); the new column is
    the last. Rows without a label stay, with an empty new cell. An npz or safetensors file gets one more array; an npy
    file and its labels become npz. Of an image folder, a new folder with links (copies on another file system): where
    the column is ``refined_label`` each image lies under its class; or, where ``out`` ends in .csv, a list of files.
    IDX, CIFAR and the built-in digits become npz.

    Args:
        source: The data set.
        options: As for training.
        out: File or folder that does not exist yet.
        keep: Which labelled rows stay, bool; all if left out.
        column: Name and values of a new column, one per labelled row.

    Returns:
        ``out``.

    Raises:
        DataError: A place that is taken, an ending that does not fit, or a column that is there already.
    """
    check_new(source, out)
    place = find_place(source)
    form = find_format(place)
    check_ending(out, form, place.name, _ENDINGS)
    if form.name == "folder" and not out.suffix and column is not None and column[0] != "refined_label":
        raise DataError(f"a folder of images has no place for {column[0]}", "Name a list instead: --out FILE.csv.")
    table = None if form.name == "csv" or form.table is None else form.table(place, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    if form.name == "csv":
        _write_csv(place.path, options, out, keep, column)
    elif table is not None:
        _write_table(table, place.name, options, out, keep, column)
    elif form.name == "folder" and out.suffix:
        _write_list(source, options, out, keep, column)
    elif form.name == "folder":
        _write_folder(place.path, options, out, keep, column)
    elif out.suffix == ".safetensors":
        _write_tensors(place.path, options, out, keep, column)
    else:
        _write_npz(source, options, out, keep, column)
    return out


def _spread(known: Iterable[bool], values: Any, empty: Any) -> list[Any]:
    """Give rows without a label an empty value."""
    left = iter(values)
    return [next(left) if there else empty for there in known]


def _check_name(names: Iterable[str], name: str, where: object) -> None:
    if name in names:
        raise DataError(
            f"{where} has a column {name!r} already", "Rename it in the source: what is there is never changed."
        )


def _write_csv(
    source: Path, options: ReadOptions, out: Path, keep: np.ndarray | None, column: tuple[str, Any] | None
) -> None:
    dialect = find_dialect(source, options.encoding)
    rows = csv_rows(source, dialect)
    header = next(rows)
    known = _known_cells(header, rows, options, source)
    if column is not None:
        _check_name(header, column[0], source)
    stay = [True] * len(known) if keep is None else _spread(known, keep.tolist(), True)
    added = None if column is None else [column[0], *_spread(known, map(str, column[1]), "")]
    delimiter = out_separator(out, dialect)
    same = delimiter == dialect.separator and dialect.plain
    with atomic(out) as part, part.open("wb") as raw, csv_text(raw, out) as file:
        file.write(csv_mark(source) if same else "")
        for number, (row, text) in enumerate(csv_records(source, dialect)):
            if number == 0 or stay[number - 1]:
                cell = None if added is None else added[number]
                file.write(_line(row, text if same else None, cell, delimiter))


def _line(row: list[str], text: str | None, cell: str | None, delimiter: str) -> str:
    """Add a cell to a row, whose text stays as it is; without a text, the row is written anew."""
    if text is None:
        return csv_line(row if cell is None else [*row, cell], delimiter)
    if cell is None:
        return text
    body = text.rstrip("\r\n")
    return body + csv_line(["", cell], delimiter).removesuffix("\n") + text[len(body) :]


def _known_cells(header: list[str], rows: Iterable[list[str]], options: ReadOptions, source: Path | str) -> list[bool]:
    """Say which rows of a CSV file have a label."""
    if options.annotator:
        places = [header.index(name) for name in options.annotator]
        return [any(text_of(row[place]) is not None for place in places) for row in rows]
    place = header.index(label_column(header, options, str(source))[0])
    return _known([row[place] for row in rows], options)


def _known_of(table: pa.Table, options: ReadOptions, where: str) -> list[bool]:
    """Say which rows of a table have a label."""
    if options.annotator:
        voted, options, _ = with_votes(table, options, where)
        return _known(voted[options.label], options)
    return _known(table[label_column(table.column_names, options, where)[0]], options, literal=True)


def _known(labels: Any, options: ReadOptions, *, literal: bool = False) -> list[bool]:
    """Say which rows have a label."""
    return [name is not None for name in given_texts(labels, drop=options.drop_unlabelled, literal=literal)]


def _write_table(
    table: pa.Table,
    where: str,
    options: ReadOptions,
    out: Path,
    keep: np.ndarray | None,
    column: tuple[str, Any] | None,
) -> None:
    import pyarrow as pa

    known = _known_of(table, options, where)
    if column is not None:
        _check_name(table.column_names, column[0], where)
        table = table.append_column(column[0], pa.array(_spread(known, column[1], None)))
    if keep is not None:
        table = table.filter(pa.array(_spread(known, keep.tolist(), True)))
    save_table(table, out)


def _write_npz(
    source: Path | str, options: ReadOptions, out: Path, keep: np.ndarray | None, column: tuple[str, Any] | None
) -> None:
    place = find_place(source)
    form = find_format(place).name
    arrays: dict[str, Any] | None = None
    found: Source | None = None
    if form == "npz":
        arrays = plain_arrays(place.path)
    elif form == "safetensors":
        arrays = as_arrays(read_tensors(place.path)[0])
    if arrays is not None:
        known = _known_labels(source, options, arrays)
    else:
        found = load(source, options)
        assert found is not None
        known = np.array([name is not None for name in texts(found.labels)])
    stay = np.ones(len(known), dtype=bool)
    if keep is not None:
        stay[known] = keep
    if arrays is None:
        assert found is not None
        kept = found.take(stay)
        labels = np.array(["" if name is None else name for name in texts(kept.labels)])
        arrays = {**feature_arrays(kept), "y": labels, "ids": kept.named().astype(str)}
    elif keep is not None:
        arrays = _kept(arrays, stay)
    if column is not None:
        _check_name(arrays, column[0], source)
        values = np.asarray(column[1])
        values = values.astype(str) if values.dtype.kind == "O" else values
        whole = np.full(len(known), np.nan if values.dtype.kind == "f" else "", values.dtype)
        whole[known] = values
        arrays[column[0]] = whole[stay]
    save_arrays(out, arrays)


def _known_labels(source: Path | str, options: ReadOptions, arrays: dict[str, Any]) -> np.ndarray:
    """Say which rows have a label; labels from a file of their own join the arrays."""
    if options.labels is None:
        key = label_key(arrays, options, Path(source)) or ""
        return np.array([name is not None for name in texts(one_label(arrays[key], key)[0])])
    found = load(source, options)
    assert found is not None
    names = texts(found.labels)
    arrays["given_label"] = np.array(["" if name is None else name for name in names])
    return np.array([name is not None for name in names])


def _kept(arrays: dict[str, Any], stay: Any) -> dict[str, Any]:
    """Leave rows out of every array of the training part that has one entry for each."""
    split = any(part_of(name)[0] == "train" for name in arrays)

    def rows(name: str, array: Any) -> bool:
        other = split and part_of(name)[0] in {"test", "held"}
        return array.ndim > 0 and len(array) == len(stay) and not other

    return {name: array[stay] if rows(name, array) else array for name, array in arrays.items()}


def _write_tensors(
    source: Path, options: ReadOptions, out: Path, keep: np.ndarray | None, column: tuple[str, Any] | None
) -> None:
    """Write a safetensors file, which holds numbers alone; tensors that were there keep their type."""
    from safetensors.torch import save_file

    tensors, said = read_tensors(source)
    arrays: dict[str, Any] = as_arrays(tensors)
    known = _known_labels(source, options, arrays)
    if options.labels is not None:
        raise DataError(f"{out} cannot hold the labels of {options.labels} beside", "Choose a name with .npz.")
    if column is not None:
        _check_name(tensors, column[0], source)
        key = label_key(arrays, options, source)
        like = arrays[key or ""].dtype
        values = np.asarray(column[1])
        values = values.astype(np.float64).astype(like) if values.dtype.kind in "OU" else values
        whole = np.full(len(known), np.nan if values.dtype.kind == "f" else 0, values.dtype)
        whole[known] = values
        tensors[column[0]] = torch.from_numpy(whole)
    if keep is not None:
        stay = np.ones(len(known), dtype=bool)
        stay[known] = keep
        tensors = {name: one.contiguous() for name, one in _kept(tensors, torch.from_numpy(stay)).items()}
    with atomic(out) as part:
        save_file(tensors, part, said or None)


def _write_list(
    source: Path | str, options: ReadOptions, out: Path, keep: np.ndarray | None, column: tuple[str, Any] | None
) -> None:
    ids, labels = labelled_rows(source, options)
    values = None if column is None else list(column[1])
    with atomic(out) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label"] + ([] if column is None else [column[0]]))
        for row in range(len(ids)):
            if keep is None or keep[row]:
                writer.writerow([ids[row], labels[row]] + ([] if values is None else [str(values[row])]))


def _write_folder(
    source: Path | str, options: ReadOptions, out: Path, keep: np.ndarray | None, column: tuple[str, Any] | None
) -> None:
    from selfdistill.data._folder import images_by_name, training_root

    ids, labels = labelled_rows(source, options)
    root = training_root(Path(source))
    files = images_by_name(root)
    classes = labels if column is None else np.asarray(column[1], dtype=object)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        for row in np.arange(len(ids)) if keep is None else np.flatnonzero(keep):
            file = files[ids[row]]
            inside = Path(*file.relative_to(root).parts[1:])
            moved = classes[row] != labels[row]
            # an image that changes its class takes the old one into its name: two classes may share a name
            target = named_folder(part, classes[row]) / (
                inside.with_name(f"{labels[row]}__{inside.name}") if moved else inside
            )
            if target.exists():
                raise DataError(
                    f"two images would be called {classes[row]}/{target.name}", "Name a list: --out FILE.csv."
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, target)
            except OSError:  # another file system
                shutil.copy2(file, target)
        part.chmod(0o755)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
