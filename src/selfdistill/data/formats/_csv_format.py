"""Tables in text."""

from __future__ import annotations

from pathlib import Path

from selfdistill.data._csv import is_csv, read_csv
from selfdistill.data._dialect import find_dialect
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import Place
from selfdistill.data.formats._format import TableRead, table_format


def _read(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    if part == "test":
        return None
    dialect = find_dialect(place.path, options.encoding)
    return TableRead(read_csv(place.path, dialect), dialect.said)


def _detect(path: Path) -> bool:
    return path.is_file() and is_csv(path)


CSV = table_format(
    "csv", "CSV or TSV (.gz, .bz2, .xz, .zst too)", _detect, _read, literal=False, uses=frozenset({"encoding"})
)
