"""A copy of a data set with rows left out, a column added or other labels; what was there stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._place import STANDARD_INPUT, find_place
from selfdistill.data._read import find_format, load
from selfdistill.data._source import known_labels
from selfdistill.data.formats import Edit, TableFormat
from selfdistill.data.formats._copies import labelled


def check_new(source: Path | str, out: Path) -> None:
    """Refuse a place that would overwrite or mix with the source: it is the source, lies in it, or exists."""
    if str(source) != STANDARD_INPUT:
        origin, place = find_place(source).path.resolve(), out.resolve()
        if place == origin or origin in place.parents:
            where = "is the source itself" if place == origin else f"lies in the source {source}"
            problem = f"out {out} {where}, which is never changed"
            raise DataError(problem, Advice("Choose another {--out}."), param="out")
    _check_free(out)


def _check_free(out: Path) -> None:
    if out.exists():
        raise DataError(f"{out} exists already", Advice("Choose another {--out}", "remove it first."))


def labelled_rows(source: Path | str, options: ReadOptions) -> tuple[np.ndarray, np.ndarray]:
    """Read what names the rows that training saw: ids and given labels, texts."""
    rows = load(source, options, names=True)
    assert rows is not None
    rows = known_labels(rows, options)
    return rows.named(), rows.labels


def labelled_cells(source: Path | str, options: ReadOptions) -> list[dict[str, str]]:
    """Read the rows that training saw as a table has them: cells by column, texts; nothing where it is no table."""
    place = find_place(source)
    form = find_format(place)
    table = form.table(place, options)
    if table is None:
        return []
    literal = not isinstance(form, TableFormat) or form.literal
    rows = zip(table.to_pylist(), labelled(table, options, place.name, literal=literal)[0], strict=True)
    return [
        {name: "" if cell is None else str(cell) for name, cell in row.items()}
        for row, is_labelled in rows
        if is_labelled
    ]


def write_refined(
    source: Path | str,
    options: ReadOptions,
    out: Path,
    *,
    keep: np.ndarray | None = None,
    column: tuple[str, Sequence[str] | np.ndarray] | None = None,
    beside: tuple[str, Sequence[str] | np.ndarray] | None = None,
) -> Path:
    """Write the copy, all at once or not at all."""
    # CSV stays CSV and Parquet stays Parquet; other tables become Parquet or CSV. Rows stay in their order, and the
    # cells that were there unchanged (of CSV byte by byte, with quotation, ends of lines and mark; in UTF-8); the new
    # column is the last, and ``beside`` goes behind it where the source has none of its name. Rows without a label
    # stay, with an empty new cell; those whose photo cannot be read do not. An npz or safetensors file gets one more
    # array; an npy file and its labels become npz. Of an image folder, a new folder with links (copies on another file
    # system): where the column is ``refined_label`` each image lies under its class; or, where ``out`` ends in .csv, a
    # list of files. A saved Hugging Face data set keeps all features. IDX, CIFAR and the built-in digits become npz.
    # ``keep`` and new values count labelled rows.
    check_new(source, out)
    return _write(source, options, out, Edit(keep=keep, column=column, beside=beside))


def write_with_labels(source: Path | str, options: ReadOptions, labels: Sequence[str], out: Path | str) -> Path:
    """Write a copy whose labels are others, one per row that has a label, all at once or not at all."""
    # CSV and Parquet keep every other cell as it stands and get a column with the labels from before, called
    # ``<label>_before_noise``, as do other tables, which become Parquet or CSV; npz gets an array
    # ``truth`` (or, where it has one, ``<label>_before_noise``); an IDX folder gets a file like ``train-truth-
    # idx1-ubyte`` beside its images, which reading takes as the truth. Every other source becomes npz with ``X``,
    # ``y``, ``truth`` and ``ids``.
    _check_free(Path(out))
    if options.annotator:
        raise DataError(
            Advice("noise changes one column of labels, but {--annotator} names several"),
            "Write their majority as a column first.",
        )
    return _write(source, options, Path(out), Edit(labels=list(labels)))


def _write(source: Path | str, options: ReadOptions, out: Path, edit: Edit) -> Path:
    place = find_place(source)
    form = find_format(place)
    form.endings(edit).check(out, place.name, form.what)
    out.parent.mkdir(parents=True, exist_ok=True)
    form.copy(place, options, out, edit)
    return out
