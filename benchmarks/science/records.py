"""Records: one JSON file per cell, written beside and renamed; and what was skipped, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.science.suite import Cell, Suite, file_name
from selfdistill._core.errors import RunError
from selfdistill._core.files import write_json
from selfdistill._core.record import read_versioned

SCHEMA = 1
RECORDS = Path(__file__).resolve().parents[1] / "records" / "science"
_SKIPPED = "skipped.json"

Record = dict[str, Any]


def read_file(path: Path, schema: int = SCHEMA) -> Record:
    """Read a record and check that this version understands it.

    Args:
        path: The file.
        schema: The schema number that is understood.

    Returns:
        What it holds.

    Raises:
        RunError: Not JSON, or another schema; names the file and the way out.
    """
    return read_versioned(
        path,
        schema,
        damaged="Delete the file, and it is measured anew.",
        foreign="Delete the file to measure it anew, or use the version that wrote it.",
    )


def finished(suite: Suite, cells: list[Cell], folder: Path = RECORDS) -> dict[str, Record]:
    """Read the records of those cells that have one.

    Args:
        suite: The suite.
        cells: Its cells.
        folder: Where records lie, one folder per suite.

    Returns:
        Records by file name.

    Raises:
        RunError: A record of another schema, or of a cell that the suite now sets otherwise.
    """
    found = {}
    for cell in cells:
        path = folder / suite.name / file_name(cell)
        if not path.is_file():
            continue
        record = read_file(path)
        if record["cell"] != cell:
            differ = [key for key in cell if record["cell"].get(key) != cell[key]]
            raise RunError(
                f"{path} was measured with other {', '.join(differ)} than the suite {suite.name!r} has now",
                "Delete the file to measure it anew, or give the changed suite a name of its own.",
            )
        found[path.name] = record
    return found


def write(suite: str, record: Record, folder: Path = RECORDS) -> Path:
    """Write the record of a cell, whole or not at all."""
    path = folder / suite / file_name(record["cell"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return path


def write_skipped(suite: str, absent: dict[str, list[str]], folder: Path = RECORDS) -> None:
    """Note which data sets were not there, and which of their files; an empty note is taken away."""
    path = folder / suite / _SKIPPED
    if not absent:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, "absent": absent})


def read_skipped(suite: str, folder: Path = RECORDS) -> dict[str, list[str]]:
    """Read which data sets were not there when the suite was run last."""
    path = folder / suite / _SKIPPED
    return dict(read_file(path)["absent"]) if path.is_file() else {}
