"""JSON lines, JSON records, and columns in JSON as pandas writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, final

import pyarrow as pa

from selfdistill._core.errors import DataError
from selfdistill.data._dialect import find_encoding
from selfdistill.data._limits import DAMAGED, damaged, open_bytes, read_whole
from selfdistill.data._place import Place
from selfdistill.data.formats._format import OF_TABLES, Request, TableFormat, TableRead, column_of

_WAY = "Give JSON lines (an object on each line), a list of objects, or an object of columns."


@final
class Json(TableFormat):
    """Objects on lines or in a list, or an object of columns."""

    name, shown = "json", "JSON lines or JSON"
    uses = OF_TABLES | {"encoding"}
    ends, packed = (".json", ".jsonl", ".ndjson"), True

    def read(self, request: Request) -> TableRead:
        path = request.place.path
        encoding, message = find_encoding(path, request.options.encoding)
        try:
            with open_bytes(path) as file:
                text = read_whole(file, str(path)).decode(encoding)
        except (*DAMAGED, UnicodeError) as error:
            raise damaged(path, error) from error
        try:
            return TableRead(_table(_parsed(text, request.place), request.place), (message,) if message else ())
        except RecursionError:
            raise DataError(f"{path} is nested too deeply", _WAY) from None
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise DataError(
                f"{path} holds {half!r}, half of a character", "Remove it, or write the file again."
            ) from None


def _parsed(text: str, place: Place) -> Any:
    """One value, or a list of those on the lines."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"{place.path} is empty", _WAY)
    first = _value(lines[0][1])
    if not isinstance(first, dict) or len(lines) == 1:
        try:
            return json.loads(text)
        except ValueError as error:
            raise DataError(f"{place.path} is not JSON: {error}", _WAY) from error
    out = []
    for number, line in lines:
        value = _value(line)
        if not isinstance(value, dict):
            raise DataError(f"{place.path}, line {number:,}: not a JSON object", _WAY)
        out.append(value)
    return out


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_columns(value: Mapping[str, Any]) -> bool:
    kinds = {type(one) for one in value.values()}
    return bool(value) and (kinds <= {list} or kinds <= {dict})


def _table(value: Any, place: Place) -> pa.Table:
    if isinstance(value, dict) and not _is_columns(value):  # {"data": [...], "meta": ...}
        lists = [one for one in value.values() if isinstance(one, list) and one and isinstance(one[0], dict)]
        value = lists[0] if len(lists) == 1 else [value]
    elif isinstance(value, dict) and len(value) == 1:
        inside = next(iter(value.values()))
        value = inside if isinstance(inside, list) and inside and isinstance(inside[0], dict) else value
    if isinstance(value, dict) and _is_columns(value):
        columns = _columns(value, place)
    elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
        names = dict.fromkeys(name for one in value for name in one)
        columns = {name: [one.get(name) for one in value] for name in names}
    else:
        what = "a list of values that are not objects" if isinstance(value, list) else f"{type(value).__name__}"
        raise DataError(f"{place.path} holds {what}", _WAY)
    table = pa.table({name: column_of(cells) for name, cells in columns.items()})
    return table.flatten() if any(pa.types.is_struct(one.type) for one in table.schema) else table


def _columns(value: dict[str, Any], place: Place) -> dict[str, list[Any]]:
    """Columns as lists of one length, or as objects with the rows' names as keys."""
    if all(isinstance(one, dict) for one in value.values()):
        rows = list(dict.fromkeys(row for one in value.values() for row in one))
        return {name: [one.get(row) for row in rows] for name, one in value.items()}
    lengths = {len(one) for one in value.values()}
    if len(lengths) > 1:
        raise DataError(f"{place.path} holds columns of different lengths: {min(lengths):,} to {max(lengths):,}", _WAY)
    return value
