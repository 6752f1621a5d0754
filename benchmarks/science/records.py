"""Records: one table per suite; and what was skipped, by name."""

from __future__ import annotations

from pathlib import Path

from benchmarks import drive
from benchmarks.science.suite import Cell, Suite, read_suite, record_key
from benchmarks.table import RECORDS as ROOT
from benchmarks.table import Record, Table
from selfdistill._core.errors import RunError
from selfdistill._core.record import read_versioned

SCHEMA = 1
RECORDS = ROOT / "science"
_SKIPPED = "skipped"


def read_file(path: Path, schema: int = SCHEMA) -> Record:
    """Read a measurement that is a file of its own, and check that this version understands it."""
    return read_versioned(
        path,
        schema,
        damaged="Delete the file, and it is measured anew.",
        foreign="Delete the file to measure it anew, or use the version that wrote it.",
    )


def table_of(suite: str, folder: Path = RECORDS) -> Table:
    """The table of a suite."""
    return Table(folder / f"{suite}.parquet", SCHEMA)


def finished(suite: Suite, cells: list[Cell], folder: Path = RECORDS) -> dict[str, Record]:
    """Read the records of those cells that have one, by key."""
    table = table_of(suite.name, folder)
    there = table.read()
    found = {record_key(cell): there[record_key(cell)] for cell in cells if record_key(cell) in there}
    for cell in cells:
        record = found.get(record_key(cell))
        if record is not None and record["cell"] != cell:
            raise RunError(
                f"record {record_key(cell)!r} of {table.path} was measured with other "
                f"{', '.join(drive.differing(record['cell'], cell))} than the suite {suite.name!r} has now",
                f"{table.drop(record_key(cell))} Or give the changed suite a name of its own.",
            )
    return found


def write(suite: str, record: Record, folder: Path = RECORDS) -> None:
    """Write the record of a cell."""
    table_of(suite, folder).add({record_key(record["cell"]): record})


def write_skipped(suite: str, absent: dict[str, list[str]], folder: Path = RECORDS) -> None:
    """Note which data sets were not there, and which of their files; an empty note is taken away."""
    table = table_of(suite, folder)
    if absent:
        table.add({_SKIPPED: {"schema": SCHEMA, "absent": absent}})
    elif _SKIPPED in table.read():
        table.remove([_SKIPPED])


def read_skipped(suite: str, folder: Path = RECORDS) -> dict[str, list[str]]:
    """Read which data sets were not there when the suite was run last."""
    note = table_of(suite, folder).read().get(_SKIPPED)
    return dict(note["absent"]) if note else {}


def suite(name: str) -> drive.Suite:
    """What a suite asks for now."""
    cells = read_suite(name).cells()
    return drive.Suite(table_of(name), {record_key(cell): cell for cell in cells})
