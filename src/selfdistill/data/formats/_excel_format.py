"""Workbooks: Excel and OpenDocument, through calamine."""

from __future__ import annotations

from typing import Any

from selfdistill._core.errors import DataError
from selfdistill.data._dialect import header_place
from selfdistill.data._labels import near_matches
from selfdistill.data._options import ReadOptions
from selfdistill.data._place import Place
from selfdistill.data.formats._columns_of import column_of
from selfdistill.data.formats._format import TableRead, ends_in, table_format


def _sheets(place: Place) -> tuple[dict[str, list[list[Any]]], list[str]]:
    """Read the sheet that was named, or all; and their names."""
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
        return {name: book.get_sheet_by_name(name).to_python() for name in names if place.part in {"", name}}, names
    except (calamine.CalamineError, OSError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{place.name} is damaged, has a password or is no workbook: {line}", "Save it again, or export it as CSV."
        ) from error


def _sheet(place: Place) -> list[list[Any]]:
    """Rows of the sheet that was named, or of the only one that holds any."""
    sheets, names = _sheets(place)
    if place.part and place.part not in names:
        raise DataError(f"{place.path} has no sheet {place.part!r}", near_matches(place.part, names))
    full = {name: rows for name, rows in sheets.items() if len(rows) > 1}
    if len(full) > 1:
        shown = ", ".join(map(repr, full))
        first = next(iter(full))
        raise DataError(
            f"{place.name} has {len(full)} sheets with rows: {shown}", f"Name one: '{place.path}::{first}'."
        )
    if not full:
        raise DataError(f"{place.name} has no rows", "Give it a header and rows.")
    return next(iter(full.values()))


def _read(place: Place, options: ReadOptions, part: str, mapped: bool) -> TableRead | None:
    import pyarrow as pa

    if part == "test":
        return None
    rows = [[None if cell == "" else cell for cell in row] for row in _sheet(place)]
    rows = [row for row in rows if any(cell is not None for cell in row)]
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    head = header_place(texts, max(map(len, texts)))
    header, body = texts[head], rows[head + 1 :]
    used = [place for place, name in enumerate(header) if name or any(row[place] is not None for row in body)]
    names = [header[place] or f"Unnamed: {place}" for place in used]
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place.name} has more than one column named {twin!r}", "Give each column its own name.")
    said = [f"{place.name} has a title before its header, which is left out: {texts[0][0][:80]!r}."] if head else []
    return TableRead(pa.table([column_of([row[i] for row in body]) for i in used], names=names), tuple(said))


EXCEL = table_format("excel", "Excel or OpenDocument", ends_in(".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), _read)
