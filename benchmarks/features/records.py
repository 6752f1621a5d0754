"""Records of cells: a table for each part; the last record of a cell counts."""

from __future__ import annotations

from pathlib import Path

from benchmarks import drive
from benchmarks.drive import Cell
from benchmarks.table import RECORDS as ROOT
from benchmarks.table import Record, Table

SCHEMA = 1
RECORDS = ROOT / "features"


def key(cell: Cell) -> str:
    """Name a cell: data set, noise, rival, seed."""
    return ", ".join(map(str, (cell["data"], cell["noise"], cell["rival"], cell["seed"])))


def table_of(part: str, folder: Path = RECORDS) -> Table:
    """The table of a part, "development" or "final"; records of failed cells hold ``failed`` in place of ``found``."""
    return Table(folder / f"{part}.parquet", SCHEMA)


def write(part: str, record: Record, folder: Path = RECORDS) -> None:
    """Write the record of a cell."""
    table_of(part, folder).add({key(record["cell"]): {"schema": SCHEMA} | record})


def suite(part: str) -> drive.Suite:
    """What is asked for now, whatever the data set and noise: a rival that there is, with its settings."""
    from benchmarks.features.rivals import RIVALS

    table = table_of(part)
    cells = [(key, record["cell"]["rival"]) for key, record in table.read().items()]
    return drive.Suite(table, {key: {"settings": RIVALS[who].settings} for key, who in cells if who in RIVALS}, None)
