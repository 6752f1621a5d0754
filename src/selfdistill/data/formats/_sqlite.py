"""Tables of SQLite databases, opened for reading only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import final
from urllib.parse import quote

import pyarrow as pa

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.wording import listed
from selfdistill.data._labels import near_matches
from selfdistill.data._limits import check_size
from selfdistill.data._place import Place
from selfdistill.data.formats._format import Request, TableFormat, TableRead, column_of

_OBJECTS = (
    "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)


@final
class Sqlite(TableFormat):
    """A table or view of a database."""

    name, shown = "sqlite", "SQLite (file.db::table)"
    ends = (".db", ".sqlite", ".sqlite3", ".db3")

    def read(self, request: Request) -> TableRead:
        place = request.place
        check_size(place.name, place.path.stat().st_size)
        address = f"file:{quote(str(place.path.resolve()))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True)) as base:
                base.text_factory = lambda raw: raw.decode("utf-8", "replace")
                name = _name(place, dict(base.execute(_OBJECTS).fetchall())).replace('"', '""')
                cursor = base.execute(f'SELECT * FROM "{name}"')
                names = [column[0] for column in cursor.description]
                rows = cursor.fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # names, and SQLite's own message of them, in other bytes
            raise DataError(
                f"{place.name} is damaged or not an SQLite database: {one_line(error)}", "Fetch it again."
            ) from error
        columns = [column_of([row[i] for row in rows]) for i in range(len(names))]
        return TableRead(pa.table(columns, names=names))


def _name(place: Place, found: dict[str, str]) -> str:
    if place.part:
        if place.part not in found:
            raise DataError(f"{place.path} has no table {place.part!r}", near_matches(place.part, found))
        return place.part
    tables = [name for name, kind in found.items() if kind == "table"]
    if len(tables) != 1:
        way = f"Name one: {place.path}::{tables[0]}." if tables else "Give another file."
        raise DataError(f"{place.name} has {len(tables):,} tables{': ' * bool(tables)}{listed(tables, 20)}", way)
    return tables[0]
