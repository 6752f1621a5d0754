"""``labels.parquet`` of a finished run: written once, read back and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import DataError, RunError, one_line
from selfdistill._core.files import atomic, json_text
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished, whole
from selfdistill._core.run_record import RunRecord
from selfdistill.data._labelled import LabelledData
from selfdistill.data._limits import check_size
from selfdistill.issues._blocks import blocks
from selfdistill.issues._table import LabelTable

if TYPE_CHECKING:
    import pandas as pd

_SOFT = "refined_distribution"  # K times as large as the others: it is read in blocks
_COLUMNS = {
    "id": "string",
    "given_label": "string",
    "refined_label": "string",
    "refined_confidence": "float",
    "label_quality": "float",
    "is_label_issue": "bool",
    "first_learned_epoch": "int32",
}
"""What is read with one value per example: name and type."""
_BLOCK_BYTES = 2**22
_ROW_GROUP_BYTES = 2**26
_ROW_BYTES = 150  # in memory; equal rows take next to nothing in a file
_AGAIN = "Run `fit` again, or `fit --resume RUN`, which writes anew what a run lost."


@dataclass(frozen=True, eq=False)
class SavedLabelTable:
    """What a run found out, and on which data."""

    source: str  # the data set, as it was typed
    options: ReadOptions  # how it was read
    classes: tuple[str, ...]  # class names, in the order of the distribution's columns
    ids: np.ndarray  # names of the rows, `[n]`
    given: np.ndarray  # given labels, texts
    refined: np.ndarray  # likeliest labels, texts
    confidence: np.ndarray  # their probability, float32
    quality: np.ndarray  # 0 to 1, low = bad, float32
    is_issue: np.ndarray  # which labels are called wrong, bool
    p_given: np.ndarray  # probability of the given label, float32
    p_other: np.ndarray  # probability of the likeliest other label, float32
    other: np.ndarray  # that label: what to write where the given one is wrong, texts
    first_learned: np.ndarray  # epoch in which the given label was first predicted, from 0; −1 never. int32

    @property
    def relabelled(self) -> np.ndarray:
        """The refined label where an issue is flagged, else the given one."""
        return np.where(self.is_issue, self.refined, self.given)

    @property
    def suggested(self) -> np.ndarray:
        """What to propose to a person: the likeliest other label where the given one is doubted, else the refined."""
        return np.where(self.is_issue, self.other, self.refined)


def read_label_table(run: Path) -> SavedLabelTable:
    """Read the findings of a finished run, started by ``selfdistill fit`` on data of the user's own."""
    record = read_finished(run)
    if record.data.read is None or not record.data.source:
        raise RunError(
            f"{run} was not trained on a file or folder that could be refined",
            f"Its label table is in {run / 'labels.parquet'}.",
        )
    return read_findings(run)


def read_findings(run: Path) -> SavedLabelTable:
    """Read the findings of a finished run, be it of the demonstration (``source`` is then empty)."""
    record = read_finished(run)
    table, classes = _table(run, record)
    given = table["given_label"].to_numpy()
    p_given, p_other, other = _given_and_other(run / "labels.parquet", given, classes)
    _check_shares(run, refined_confidence=table["refined_confidence"], label_quality=table["label_quality"],
                  refined_distribution=np.stack([p_given, p_other]))  # fmt: skip
    return SavedLabelTable(
        source=record.data.source or "",
        options=record.data.read or ReadOptions(),
        classes=classes,
        ids=table["id"].to_numpy(),
        given=given,
        refined=table["refined_label"].to_numpy(),
        confidence=table["refined_confidence"].to_numpy(),
        quality=table["label_quality"].to_numpy(),
        is_issue=table["is_label_issue"].to_numpy(),
        p_given=p_given,
        p_other=p_other,
        other=other,
        first_learned=table["first_learned_epoch"].to_numpy(),
    )


def label_columns(run: Path) -> pd.DataFrame:
    """Read the columns of a finished run's table that hold one value per example."""
    table: pd.DataFrame = _table(run, read_finished(run))[0]
    return table


def named_rows(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read names and given labels of the rows of a finished run, texts ``[n]`` each."""
    table = label_columns(run)
    return table["id"].to_numpy(), table["given_label"].to_numpy()


def label_table(run: Path) -> pd.DataFrame:
    """Read ``labels.parquet`` of a finished run, all columns, checked as `read_label_table` does."""
    _table(run, read_finished(run))
    with _opened(run / "labels.parquet") as file:
        found: pd.DataFrame = file.read().to_pandas()
    return found


def soft_blocks(run: Path, classes: Sequence[str]) -> Generator[np.ndarray]:
    """Read the refined distributions of a finished run, a block of rows at a time, float32 ``[b, K]`` each."""
    with _opened(run / "labels.parquet") as file:
        for batch in file.iter_batches(max(1, _BLOCK_BYTES // (4 * len(classes))), columns=[_SOFT]):
            yield np.array(batch.column(0).flatten(), np.float32).reshape(len(batch), len(classes))


def _check_shares(run: Path, **columns: Any) -> None:
    """Refuse probabilities that are none."""
    for name, values in columns.items():
        outside = ~((np.asarray(values) >= 0) & (np.asarray(values) <= 1 + 1e-4))  # NaN is outside, too
        if outside.any():
            raise RunError(
                f"{run / 'labels.parquet'} is damaged: {name} holds a value that is not a probability", _AGAIN
            )


def _given_and_other(
    path: Path, given: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the probability of the given label, that of the likeliest other, and this one, a block at a time."""
    places = {name: k for k, name in enumerate(classes)}
    p_given, p_other = np.empty(len(given), np.float32), np.empty(len(given), np.float32)
    other = np.empty(len(given), np.int64)
    start = 0
    column = np.array([places[name] for name in given])
    for soft in soft_blocks(path.parent, classes):
        rows, place = slice(start, start + len(soft)), np.arange(len(soft))
        p_given[rows] = soft[place, column[rows]]
        soft[place, column[rows]] = -1
        other[rows] = soft.argmax(1)
        p_other[rows] = soft[place, other[rows]]
        start += len(soft)
    return p_given, p_other, np.asarray(classes, object)[other]


def _table(run: Path, record: RunRecord) -> tuple[Any, tuple[str, ...]]:
    """Read the columns of one value per example, with labels that are classes of the run."""
    path, examples = whole(run, "labels.parquet", again=_AGAIN), record.data.examples
    with _opened(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        classes = tuple(json.loads((schema.metadata or {})[b"classes"]))
        if list(classes) != record.data.classes:
            raise ValueError("its classes are not those of the run")
        missing = [name for name in (*_COLUMNS, _SOFT) if name not in schema.names]
        if missing:
            raise RunError(f"{path} has no column {missing[0]!r}", "Use the version of selfdistill that wrote it.")
        if rows != examples:
            raise RunError(f"{path} holds {rows:,} rows, but the run had {examples:,} examples", _AGAIN)
        check_size(str(path), rows * _ROW_BYTES)
        for name, kind in _COLUMNS.items():
            if str(schema.field(name).type).removeprefix("large_") != kind:
                raise ValueError(f"{name} holds {schema.field(name).type} instead of {kind}")
        soft = schema.field(_SOFT).type
        if (soft.list_size, str(soft.value_type)) != (len(classes), "float"):
            raise ValueError(f"{_SOFT} holds {soft}")
        table = file.read(columns=list(_COLUMNS))
        empty = [name for name in _COLUMNS if table[name].null_count]
        if empty:
            raise ValueError(f"{empty[0]} has empty cells")
    for name in ("given_label", "refined_label"):
        odd = set(table[name].unique().to_pylist()).difference(classes)
        if odd:
            raise RunError(f"{path} is damaged: {name} {min(map(str, odd))!r} is not a class of the run", _AGAIN)
    return table.to_pandas(), classes


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """Open the table, and tell damage in one line. Pyarrow takes paths that are not UTF-8 only as bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pa.OSFile(os.fsencode(path)) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            yield file
    except (RunError, DataError):
        raise
    except Exception as error:  # whatever pyarrow makes of a stranger's bytes
        raise RunError(f"{path} is damaged: {one_line(error)}", _AGAIN) from error


def _suggested(table: LabelTable) -> np.ndarray:
    """What to propose to a person, as `SavedLabelTable.suggested`: int64 ``[n]``."""
    out = table.refined.copy()
    for rows, soft in blocks(table.distribution, _BLOCK_BYTES):
        doubted = np.flatnonzero(table.is_issue[rows])
        others = soft[doubted]
        others[np.arange(len(doubted)), table.given[rows][doubted]] = -1
        out[rows][doubted] = others.argmax(1)
    return out


def write_label_table(path: Path, data: LabelledData, table: LabelTable) -> None:
    """Write what was found out about each example, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = np.asarray(data.classes, dtype=object)
    classes = {"classes": json_text(list(data.classes))}
    columns: dict[str, Any] = {
        "id": pa.array([str(i) for i in data.ids]),
        "given_label": pa.array(names[table.given], pa.string()),
        "refined_label": pa.array(names[table.refined], pa.string()),
        "refined_confidence": pa.array(table.confidence),
        "refined_distribution": None,  # K times as large as the others: it goes to the file in blocks
        "label_quality": pa.array(table.quality),
        "is_label_issue": pa.array(table.is_issue),
        "first_learned_epoch": pa.array(table.first_learned),
        "times_forgotten": pa.array(table.forgotten),
        "suggested_label": pa.array(names[_suggested(table)], pa.string()),
    }
    kinds = [(name, pa.list_(pa.float32(), len(names)) if c is None else c.type) for name, c in columns.items()]
    schema = pa.schema(kinds, metadata=classes)
    with (
        atomic(path) as part,
        pa.OSFile(os.fsencode(part), "wb") as file,
        pq.ParquetWriter(file, schema, write_page_checksum=True) as writer,
    ):
        for rows, soft in blocks(table.distribution, _ROW_GROUP_BYTES):
            flat = pa.FixedSizeListArray.from_arrays(pa.array(soft.reshape(-1)), len(names))
            cut = [flat if c is None else c.slice(rows.start, len(soft)) for c in columns.values()]
            writer.write_table(pa.Table.from_arrays(cut, schema=schema))
