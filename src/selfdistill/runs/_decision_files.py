"""Decisions from and for other programs: CSV, and what Label Studio imports and exports."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, RunError
from selfdistill._core.files import atomic, json_text, read_json
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.run_record import RunRecord
from selfdistill._core.wording import ending, quoted
from selfdistill.runs._decisions import Decided, journal_path, read_header, read_journal
from selfdistill.runs._label_table import named_rows

ENDINGS = (".jsonl", ".csv", ".json")
"""Of files of decisions: a journal, a table, and Label Studio's."""
_Entries: TypeAlias = list[tuple[str, str | None, str | None]]
"""Name, label (``None``: unsure) and given label (``None``: not in the file) of each decided example."""
_LABELS = ("settled_label", "label")  # the first was written by versions up to 0.2
_NAMED = "name rows by a column in both runs: `selfdistill fit DATA --id COLUMN`."
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions on the examples of a run."""

    labels: Mapping[int, str]  # label of each decided example, by position
    unsure: frozenset[int] = frozenset()  # examples that nobody can say
    unknown: tuple[str, ...] = ()  # names in the file that no example has


def read_decisions(
    path: Path, ids: Sequence[str], classes: Sequence[str], given: Sequence[str] | None = None
) -> Decisions:
    """Read decisions on the examples of these names; ``given`` their labels, where the names are only numbers."""
    # A journal (.jsonl); a CSV file with the columns id and label, where an empty cell decides
    # nothing; or what Label Studio exports as JSON or JSON-MIN (.json), where the last annotation of a task counts.
    # With `given`, a file that tells another given label is about other data, unless the data have the decided label
    # already.
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise DataError(ending(path), f"Decisions lie in files that end in {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise DataError(f"{path} is no file", "Name a file of decisions; `selfdistill review RUN` makes one.")
    readers: dict[str, Callable[[Path], _Entries]] = {".csv": _from_csv, ".json": _from_label_studio}
    entries: _Entries = (
        [(*one, None) for one in read_journal(path)] if kind == ".jsonl" else _read_entries(path, readers[kind])
    )
    return _matched(path, entries, ids, frozenset(classes), given)


def decided_before(run: Path, record: RunRecord) -> Decisions | None:
    """Read the decisions that a run was trained with; ``None`` if there were none, or their file is gone."""
    if record.data.decisions is None or not (path := Path(record.data.decisions)).is_file():
        return None
    return _on_rows(path, run, record)


def decided_since(run: Path, record: RunRecord) -> Decisions | None:
    """Read the decisions in the journal beside a run, else those it was trained with; ``None`` if there are none."""
    # A journal of an earlier run of the same name is passed over.
    path = journal_path(run)
    if not path.is_file() or read_header(path)["run"] != record.id:
        return decided_before(run, record)
    return _on_rows(path, run, record)


def _on_rows(path: Path, run: Path, record: RunRecord, given: Sequence[str] | None = None) -> Decisions:
    """Read decisions on the examples of a run."""
    return read_decisions(path, named_rows(run)[0].tolist(), record.data.classes, given)


def read_held(path: Path, run: Path, record: RunRecord) -> Decisions:
    """Read decisions that take the place of what a run found; refuse a journal about another run on other data."""
    given = given_of_numbered(run, record)
    if path.suffix.lower() == ".jsonl" and path.is_file():
        _check_about(path, run, record, named=given is None)
    return _on_rows(path, run, record, given)


def _check_about(path: Path, run: Path, record: RunRecord, *, named: bool) -> None:
    """Refuse a journal about another run on other data, with the way to bring decisions over."""
    header, before = read_header(path), record.data.decisions
    same = header["run"] == record.id or header.get("data") == record.data.fingerprint
    if not same and (before is None or Path(before).resolve() != path.resolve()):
        take = f"selfdistill review {quoted(run)} --take {quoted(path)}"
        by_name = f"bring them over by the names of the examples: {take}." if named else _NAMED
        raise RunError(
            f"{path} holds decisions about the run {header.get('name', header['run'])!r}, not about {run}",
            Advice("Give {journal}", "{by_name}", journal=journal_path(run), by_name=by_name),
        )


def read_taken(path: Path, run: Path, record: RunRecord) -> Decisions:
    """Read decisions that a review begins with, by name; refuse other data where names are only numbers."""
    given = given_of_numbered(run, record)
    if path.suffix.lower() == ".jsonl" and path.is_file() and given is not None:
        header = read_header(path)
        if header["run"] != record.id and header.get("data") != record.data.fingerprint:
            raise RunError(
                f"{path} holds decisions about the run {header.get('name', header['run'])!r} on other data than "
                f"{run}, and rows are named by numbers",
                Advice("Give decisions about the same data", _NAMED),
            )
    return _on_rows(path, run, record, given)


def given_of_numbered(run: Path, record: RunRecord) -> list[str] | None:
    """Read the given labels of a run whose rows have only numbers for names; ``None`` for one with names."""
    ids, given = named_rows(run)
    return given.tolist() if numbered(record.data.read, ids.tolist()) else None


def numbered(read: ReadOptions | None, ids: Sequence[str]) -> bool:
    """Whether rows have only their numbers for names; some may have been left out."""
    if read is None or read.id is not None or not all(map(_NUMBER.fullmatch, ids)):
        return False
    return all(one < other for one, other in pairwise(map(int, ids)))


def _read_entries(path: Path, reader: Callable[[Path], _Entries]) -> _Entries:
    """Read, and tell what does not fit in one line."""
    try:
        return reader(path)
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", "Export it again.") from error


def _matched(
    path: Path, entries: _Entries, ids: Sequence[str], classes: frozenset[str], given: Sequence[str] | None
) -> Decisions:
    """Find the examples by name; a label of ``None`` stands for unsure."""
    places = {str(name): row for row, name in enumerate(ids)}
    labels: dict[int, str] = {}
    unsure, unknown = set(), []
    for name, label, before in entries:
        row = places.get(name)
        if row is None:
            unknown.append(name)
        elif given is not None and before is not None and given[row] not in {before, label}:
            raise DataError(
                f"{path} is about other data: row {name} was given {before!r} there, but here {given[row]!r}, and "
                "rows are named by numbers",
                Advice("Give decisions about these data", _NAMED),
            )
        elif label is None:
            unsure.add(row)
        elif label not in classes:
            raise DataError(
                f"{path} gives {name!r} the label {label!r}, which is not a class",
                "Correct it there; classes are written as in the data.",
            )
        elif labels.setdefault(row, label) != label:
            raise DataError(f"{path} gives {name!r} both {labels[row]!r} and {label!r}", "Leave one of them.")
    if entries and len(unknown) == len(entries):
        raise DataError(
            f"{path} names no example of the data, but {unknown[0]!r}, for instance",
            f"Names are like {str(ids[0])!r}.",
        )
    return Decisions(labels, frozenset(unsure) - set(labels), tuple(unknown))


def _from_csv(path: Path) -> _Entries:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        columns = rows.fieldnames or ()
        column = next((one for one in _LABELS if one in columns), None)
        if "id" not in columns or column is None:
            raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}", "Name them id and label.")
        found: _Entries = []
        for row in rows:
            if row[column]:
                found.append((row["id"], row[column], row.get("given_label") or None))
            elif row.get("decision") == "unsure":
                found.append((row["id"], None, row.get("given_label") or None))
    return found


def _from_label_studio(path: Path) -> _Entries:
    found: _Entries = []
    for task in read_json(path):
        choices: Any
        annotations = [one for one in task.get("annotations", ()) if not one.get("was_cancelled")]
        if annotations:
            data, choices = task["data"], _choices(annotations[-1])
        else:  # JSON-MIN: the label stands beside the data
            data, choices = task.get("data", task), task.get("label") if "annotations" not in task else None
        if isinstance(choices, str):
            choices = [choices]
        if not choices:
            continue
        if len(choices) > 1:
            raise DataError(f"{path} gives {data['id']!r} {len(choices)} labels at once", "Give each task one choice.")
        found.append((str(data["id"]), str(choices[0]), data.get("given_label")))
    return found


def _choices(annotation: Mapping[str, Any]) -> list[str]:
    """Choices of the control that is named ``label``, or of the only one."""
    results = [one for one in annotation.get("result", ()) if one.get("type") == "choices"]
    named = [one for one in results if one.get("from_name") == "label"] or results
    return list(named[-1]["value"]["choices"]) if named else []


def write_decisions(
    path: Path, decided: Decided, ids: Sequence[str], given: Sequence[str], refined: Sequence[str]
) -> int:
    """Write decisions to a new file for other programs, ``.csv`` or ``.json``; give the number of examples."""
    # Label Studio shows the refined labels as predictions.
    writers: dict[str, Callable[..., None]] = {".csv": _to_csv, ".json": _to_label_studio}
    if path.suffix.lower() not in writers:
        raise DataError(ending(path), "Name a file that ends in .csv or .json.")
    if path.exists():
        raise DataError(f"{path} exists already", "Name another file.")
    rows = sorted({*decided.labels, *decided.unsure})
    with atomic(path) as part:
        writers[path.suffix.lower()](part, rows, decided, ids, given, refined)
    return len(rows)


def _to_csv(
    path: Path, rows: list[int], decided: Decided, ids: Sequence[str], given: Sequence[str], refined: Sequence[str]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "given_label", "label", "decision"])
        for row in rows:
            label = decided.labels.get(row, "")
            decision = "unsure" if not label else "kept" if label == given[row] else "changed"
            writer.writerow([ids[row], given[row], label, decision])


def chosen(row: int, label: str) -> list[dict[str, Any]]:
    """Write a label as Label Studio's result: ``choices`` named ``label`` on an object named ``item``."""
    about = {"id": f"label-{row}", "from_name": "label", "to_name": "item", "type": "choices"}
    return [about | {"value": {"choices": [label]}}]


def _to_label_studio(
    path: Path, rows: list[int], decided: Decided, ids: Sequence[str], given: Sequence[str], refined: Sequence[str]
) -> None:
    """Write tasks with annotations."""
    tasks = [
        {
            "data": {"id": str(ids[row]), "given_label": str(given[row])},
            "annotations": [{"result": chosen(row, label)}] if (label := decided.labels.get(row)) else [],
            "predictions": [{"model_version": "selfdistill", "result": chosen(row, str(refined[row]))}],
        }
        for row in rows
    ]
    path.write_text(json_text(tasks, indent=1) + "\n", encoding="utf-8")


def decided_array(found: Decisions, classes: Sequence[str], n: int) -> np.ndarray:
    """Write decided labels as positions of classes, int64 ``[n]``; -1 where nothing is decided."""
    places = {name: k for k, name in enumerate(classes)}
    codes = np.full(n, -1, np.int64)
    for row, label in found.labels.items():
        codes[row] = places[label]
    return codes
