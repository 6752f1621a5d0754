"""Workbooks: Excel and OpenDocument, through calamine."""

from __future__ import annotations

from typing import Any, final

import pyarrow as pa

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._dialect import header_place
from selfdistill.data._labels import near_matches
from selfdistill.data._limits import check_names
from selfdistill.data._place import Place
from selfdistill.data.formats._format import Request, TableFormat, TableRead, column_of


@final
class Excel(TableFormat):
    """A sheet of a workbook."""

    name, shown = "excel", "Excel or OpenDocument"
    ends = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

    def read(self, request: Request) -> TableRead:
        place = request.place
        rows = [[None if cell == "" else cell for cell in row] for row in _sheet(place)]
        rows = [row for row in rows if any(cell is not None for cell in row)]
        texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
        head = header_place(texts, max(map(len, texts)))
        header, body = texts[head], rows[head + 1 :]
        used = [i for i, name in enumerate(header) if name or any(row[i] is not None for row in body)]
        names = [header[i] or f"Unnamed: {i}" for i in used]
        check_names(names, place.name)
        messages = (
            [f"{place.name} has a title before its header, which is left out: {texts[0][0][:80]!r}."] if head else []
        )
        return TableRead(pa.table([column_of([row[i] for row in body]) for i in used], names=names), messages)


def _sheet(place: Place) -> list[list[Any]]:
    try:
        import python_calamine as calamine
    except ImportError:
        raise DataError(
            f"{place.name} is a workbook, and reading it needs python-calamine",
            "pip install 'selfdistill[excel]', or export the sheet as CSV.",
        ) from None
    try:
        book = calamine.CalamineWorkbook.from_path(str(place.path))
        names = list(book.sheet_names)
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in names if place.part in {"", name}}
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise DataError(
            f"{place.name} is damaged, has a password or is not a workbook: {one_line(error)}",
            "Save it again, or export it as CSV.",
        ) from error
    if place.part and place.part not in names:
        raise DataError(f"{place.path} has no sheet {place.part!r}", near_matches(place.part, names))
    full = {name: rows for name, rows in sheets.items() if len(rows) > 1}
    if len(full) > 1:
        raise DataError(
            f"{place.name} has {len(full)} sheets with rows: {', '.join(map(repr, full))}",
            f"Name one: '{place.path}::{next(iter(full))}'.",
        )
    if not full:
        raise DataError(f"{place.name} has no rows", "Give it a header and rows.")
    return next(iter(full.values()))
