"""Tables in text: CSV, TSV and their kin, plain or packed, every cell as the text that stands there."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pyarrow as pa

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError
from selfdistill._core.files import atomic
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._dialect import Dialect, comment, find_dialect, not_text
from selfdistill.data._limits import (
    DAMAGED,
    FIELD_LIMIT,
    ROW_LIMIT,
    check_columns,
    check_names,
    damaged,
    expand_limit,
    open_bytes,
    unpacked_name,
)
from selfdistill.data._place import Place
from selfdistill.data._roles import label_column
from selfdistill.data.formats._copies import TEXT, Edit, Endings, check_free, csv_line, csv_text, labelled, spread
from selfdistill.data.formats._format import OF_TABLES, Request, TableFormat, TableRead

_CELLS = 2**18  # that become arrays at once
_LIKE_NUMBERS = re.compile(r"[-+.,\d]*")


@dataclass
class _Lines:
    """Lines of a file that keep to the limits; keeps and counts what the row under way has taken."""

    path: Path
    file: io.TextIOWrapper
    dialect: Dialect
    row: int = 0
    total: int = 0
    number: int = 0
    width: int = 0
    text: list[str] = field(default_factory=list)
    before: str = ""

    def take(self) -> str:
        """Give the text of the row that has ended, and begin another."""
        text = "".join(self.text)
        self.text, self.row = [], 0
        return text

    def __iter__(self) -> Iterator[str]:
        limit = expand_limit()
        while line := self.file.readline(ROW_LIMIT):
            self.number += 1
            self.row += len(line)
            self.total += len(line)
            self.text.append(line)
            if "\0" in line:
                raise not_text(self.path)
            if self.row >= ROW_LIMIT:
                size = self.path.stat().st_size
                raise DataError(
                    f"{self.path} has a row of more than {ROW_LIMIT:,} characters (the file has {size:,} bytes): "
                    "one huge field, or a quotation mark that is never closed",
                    f"Fields may have {FIELD_LIMIT:,} characters; shorten it or close the quotation.",
                )
            if self.total > limit:
                raise DataError(f"{self.path} unpacks to more than {limit / 2**30:,.1f} GiB", "Use a part of the data.")
            begins = self.row == len(line)  # a row
            if self.number <= self.dialect.before or (
                begins and line[0] == "#" and comment(line, self.dialect, self.width)
            ):
                self.before += self.take()
                continue
            if self.dialect.hashed and not self.width:
                line = line.lstrip("# \t")
            yield line.rstrip() + "\n" if self.dialect.separator == " " else line


@contextmanager
def _opened(path: Path, encoding: str) -> Generator[io.TextIOWrapper]:
    """Open as text and say what is wrong with the bytes in one line."""
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
            yield file
    except UnicodeError as error:
        place = str(error)
        if isinstance(error, UnicodeDecodeError):
            place = f"byte 0x{error.object[error.start]:02x} cannot be read"
        raise DataError(f"{path} is not {encoding}: {place}", Advice("Name its encoding with {--encoding}.")) from error
    except DAMAGED as error:
        raise damaged(path, error) from error


@contextmanager
def _field_limit() -> Generator[None]:
    """Lift the csv module's limit of 131,072 characters: ours is checked on each row, with its size."""
    before = csv.field_size_limit(ROW_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_fields(path: Path, line: int, row: list[str]) -> None:
    for place, cell in enumerate(row):
        if len(cell) > FIELD_LIMIT:
            raise DataError(
                f"{path}, line {line:,}: field {place + 1} has {len(cell):,} characters, more than {FIELD_LIMIT:,}",
                "Shorten it, or check for a quotation mark that is never closed.",
            )


def _check_swallowed(lines: _Lines, text: str, width: int) -> None:
    """Refuse a row over several lines each of which is a whole row: a lone quotation mark would swallow them."""
    parts, mark = text.splitlines(), lines.dialect.separator
    whole = all((len(one.split()) if mark == " " else one.count(mark) + 1) == width for one in parts)
    if whole and (mark != "," or len(parts) > 2):  # two lines of prose may hold as many commas by chance
        raise DataError(
            f"{lines.path}, line {lines.number - len(parts) + 1:,}: a quotation mark opens a field that ends in line "
            f"{lines.number:,}, but each of these {len(parts):,} lines has {width} fields: {len(parts):,} rows would "
            "be read as one",
            "Remove the quotation mark, or double it and put the field into quotation marks.",
        )


def csv_rows(path: Path, dialect: Dialect | None = None) -> Iterator[list[str]]:
    """Read the rows, the header first; see `csv_records`."""
    return (row for row, _ in csv_records(path, dialect))


def csv_records(path: Path, dialect: Dialect | None = None) -> Iterator[tuple[list[str], str]]:
    """Read the rows, the header first, each with the text that it stands in."""
    dialect = dialect or find_dialect(path)
    with _opened(path, dialect.encoding) as file, _field_limit():
        lines, header = _Lines(path, file, dialect), [""]
        try:
            for row in dialect.reader(iter(lines), strict=True):
                if lines.row > FIELD_LIMIT:
                    _check_fields(path, lines.number, row)
                text = lines.take()
                if not any(row) and (len(row) > 1 or not row):
                    continue
                before, lines.before = lines.before, ""
                if not lines.width:
                    lines.width, header = len(row) + bool(dialect.extra), row
                    yield ["", *row] if dialect.extra == "names" else row, before + text
                    continue
                if dialect.extra == "trailing" and len(row) == lines.width and not row[-1]:
                    yield row[:-1], before + text
                    continue
                if len(row) != lines.width:
                    more = f", and the rows before {lines.width}" if dialect.extra else ""
                    raise DataError(
                        f"{path}, line {lines.number:,}: {len(row)} fields, but the header has "
                        f"{lines.width - bool(dialect.extra)}{more}",
                        "Quote fields that hold the separator, and give every row as many fields as the header.",
                    )
                if row == header and lines.width > 1 and not all(map(_LIKE_NUMBERS.fullmatch, row)):
                    raise DataError(
                        f"{path}, line {lines.number:,}: the header is repeated here, as in joined files, or "
                        "the file has no header",
                        "Remove this line; if the first line is data, put a line of names above it.",
                    )
                if lines.width > 1 and text.count("\n") > 1:
                    _check_swallowed(lines, text, lines.width)
                yield row, before + text
        except csv.Error as error:
            raise DataError(
                f"{path}, line {lines.number:,}: {error}",
                "Close the quotation, and double the quotation marks inside it.",
            ) from error
    if not lines.width:
        raise DataError(f"{path} is empty", "Give it a header line and rows.")


def read_csv(path: Path, dialect: Dialect | None = None) -> pa.Table:
    """Read a file as a table of texts."""
    dialect = dialect or find_dialect(path)
    rows = csv_rows(path, dialect)
    header = next(rows)
    check_columns(len(header), str(path))
    names = [name or f"Unnamed: {place}" for place, name in enumerate(header)]
    check_names(names, str(path), "; if the first line is data, put a line of names above it")
    chunks: list[list[pa.Array]] = [[] for _ in names]
    while part := list(itertools.islice(rows, -(-_CELLS // len(names)))):
        for chunk, column in zip(chunks, zip(*part, strict=True), strict=True):
            chunk.append(pa.array(column, pa.large_string()))
    if not chunks[0]:
        raise DataError(
            f"{path} has a header but no rows", "Add rows; if the first line is data, add a header above it."
        )
    columns = [pa.chunked_array(chunk, pa.large_string()) for chunk in chunks]
    return pa.table(columns, names=names, metadata={"separator": dialect.separator})


@final
class Csv(TableFormat):
    """CSV, TSV and their kin, plain or packed."""

    name, shown = "csv", "CSV or TSV (.gz, .bz2, .xz, .zst too)"
    uses = OF_TABLES | {"encoding"}
    ends = (".csv", ".tsv", ".tab", ".psv", ".txt", ".dat", ".data")
    packed, literal = True, False

    def read(self, request: Request) -> TableRead:
        dialect = find_dialect(request.place.path, request.options.encoding)
        return TableRead(read_csv(request.place.path, dialect), dialect.messages)

    def endings(self, edit: Edit) -> Endings:
        return TEXT

    def copy(self, place: Place, options: ReadOptions, out: Path, edit: Edit) -> None:
        """Copy row by row; where no label changes, byte by byte, with quotation and ends of lines."""
        dialect = find_dialect(place.path, options.encoding)
        table = read_csv(place.path, dialect)
        names, (known, with_photo) = table.column_names, labelled(table, options, place.name, literal=False)
        stay, new, at = edit.stay(known, with_photo), None, 0
        added = {name: [name, *spread(known, map(str, one), "")] for name, one in edit.added(names, place.name).items()}
        if edit.labels is not None:
            label, _ = label_column(names, options, place.name)
            at, new = names.index(label), edit.relabelled(known, options, place.name)
            before = f"{label}_before_noise"
            check_free(names, before, place.name, noise=True)
            added[before] = [before, *table[label].to_pylist()]
        delimiter = "\t" if unpacked_name(out).endswith(".tsv") else dialect.separator
        same = new is None and delimiter == dialect.separator and dialect.plain
        with atomic(out) as part, part.open("wb") as raw, csv_text(raw, out) as file:
            file.write("\ufeff" if same and dialect.encoding == "utf-8-sig" else "")
            for number, (row, text) in enumerate(csv_records(place.path, dialect)):
                if number and not stay[number - 1]:
                    continue
                if new is not None and number and new[number - 1] is not None:
                    row = [*row[:at], new[number - 1], *row[at + 1 :]]
                cells = [column[number] for column in added.values()]
                file.write(_line(row, text if same else None, cells, delimiter))


def _line(row: list[str], text: str | None, cells: list[str], delimiter: str) -> str:
    """Add cells to a row, whose text stays as it is; without a text, the row is written anew."""
    if text is None:
        return csv_line([*row, *cells], delimiter)
    if not cells:
        return text
    body = text.rstrip("\r\n")
    return body + csv_line(["", *cells], delimiter).removesuffix("\n") + text[len(body) :]
