"""Tables of SQLite databases, opened for reading only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from urllib.parse import quote

from selfdistill._core.errors import DataError
from selfdistill.data._labels import near_matches
from selfdistill.data._limits import check_size
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import Place
from selfdistill.data.formats._columns_of import column_of
from selfdistill.data.formats._format import TableRead, ends_in, table_format

_OBJECTS = (
    "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)


def _name(place: Place, base: sqlite3.Connection) -> str:
    """Choose the table: the one that was named, else the only one."""
    found: dict[str, str] = dict(base.execute(_OBJECTS).fetchall())
    if place.part:
        if place.part not in found:
            raise DataError(f"{place.path} has no table {place.part!r}", near_matches(place.part, found))
        return place.part
    tables = [name for name, kind in found.items() if kind == "table"]
    if len(tables) != 1:
        shown = ", ".join(map(repr, tables[:20]))
        way = f"Name one: {place.path}::{tables[0]}." if tables else "Give another file."
        raise DataError(f"{place.name} has {len(tables):,} tables{': ' * bool(tables)}{shown}", way)
    return tables[0]


def _read(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    import pyarrow as pa

    if part == "test":
        return None
    check_size(place.name, place.path.stat().st_size)
    address = f"file:{quote(str(place.path.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as base:
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            name = _name(place, base).replace('"', '""')
            cursor = base.execute(f'SELECT * FROM "{name}"')
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{place.name} is damaged or no SQLite database: {error}", "Fetch it again.") from error
    columns = [column_of([row[i] for row in rows]) for i in range(len(names))]
    return TableRead(pa.table(columns, names=names))


SQLITE = table_format("sqlite", "SQLite (file.db::table)", ends_in(".db", ".sqlite", ".sqlite3", ".db3"), _read)
