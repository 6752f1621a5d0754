"""CSV and TSV files, plain or gzipped: every cell as the text that stands there."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from selfdistill._core.errors import DataError
from selfdistill.data._limits import FIELD_LIMIT, ROW_LIMIT, expand_limit, open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["csv_delimiter", "csv_mark", "csv_records", "csv_rows", "is_csv", "not_text", "read_csv"]

_CHUNK = 4096


def is_csv(path: Path) -> bool:
    """Tell by the name whether a file is CSV or TSV.

    Args:
        path: The file.

    Returns:
        Whether it ends in .csv, .tsv, .csv.gz or .tsv.gz.

    Example:
        >>> is_csv(Path("a.CSV.gz")), is_csv(Path("a.npz"))
        (True, False)
    """
    return path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))


@dataclass
class _Lines:
    """Lines of a file that keep to the limits; keeps and counts what the row under way has taken."""

    path: Path
    file: io.TextIOWrapper
    row: int = 0
    total: int = 0
    text: list[str] = field(default_factory=list)

    def take(self) -> str:
        """Give the text of the row that has ended, and begin another."""
        text = "".join(self.text)
        self.text, self.row = [], 0
        return text

    def __iter__(self) -> Iterator[str]:
        limit = expand_limit()
        while line := self.file.readline(ROW_LIMIT):
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
                raise DataError(f"{self.path} unfolds to more than {limit / 2**30:,.1f} GiB", "Use a part of the data.")
            yield line


def not_text(path: Path) -> DataError:
    """Say what a file is that holds NUL bytes: UTF-16, a workbook or archive, or something else that is no text.

    Args:
        path: The file.

    Returns:
        The error to raise.
    """
    with open_bytes(path) as raw:
        head = raw.read(_CHUNK)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return DataError(f"{path} is UTF-16, not UTF-8", "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8.")
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return DataError(f"{path} is a workbook or an archive, no CSV file", "Export it as CSV in UTF-8.")
    return DataError(f"{path} is no text: it holds NUL bytes", "Export the data as CSV in UTF-8, or as Parquet.")


@contextmanager
def _opened(path: Path) -> Generator[io.TextIOWrapper]:
    """Open as UTF-8 and say what is wrong with the bytes in one line."""
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        with open_bytes(path) as raw:
            head = raw.read(_CHUNK)
        if b"\0" in head or head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise not_text(path) from error
        raise DataError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} cannot be read",
            "Save it as UTF-8, for example: iconv -f LATIN1 -t UTF-8.",
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged: {error}", "Fetch the file again.") from error


def csv_delimiter(path: Path) -> str:
    """Find what separates the fields: a tab in TSV files, else what the first line has most of; a comma wins a tie.

    Args:
        path: The file.

    Returns:
        One of ``,``, ``;``, tab and ``|``.
    """
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    with _opened(path) as file:
        first = file.readline(ROW_LIMIT)
    return max(",;\t|", key=first.count) if "," not in first else ","


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


def _check_swallowed(path: Path, line: int, text: str, delimiter: str, width: int) -> None:
    """Refuse a row over several lines each of which is a whole row: a lone quotation mark would swallow them."""
    lines = text.splitlines()
    whole = all(one.count(delimiter) == width - 1 for one in lines)
    if whole and (delimiter != "," or len(lines) > 2):  # two lines of prose may hold as many commas by chance
        raise DataError(
            f"{path}, line {line - len(lines) + 1:,}: a quotation mark opens a field that ends in line {line:,}, but "
            f"each of these {len(lines):,} lines has {width} fields: {len(lines):,} rows would be read as one",
            "Remove the quotation mark, or double it and put the field into quotation marks.",
        )


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Read the rows, the header first; empty lines are left out.

    Args:
        path: The file.

    Returns:
        The cells as they stand in the file, without the quotation.

    Raises:
        DataError: See `csv_records`.
    """  # noqa: DOC502 (raised by what is called)
    return (row for row, _ in csv_records(path))


def csv_mark(path: Path) -> str:
    """Give the mark that some programs put before the first cell, to say that a file is UTF-8.

    Args:
        path: The file.

    Returns:
        The mark, or nothing.
    """
    with open_bytes(path) as raw:
        return "\ufeff" if raw.read(3) == codecs.BOM_UTF8 else ""


def csv_records(path: Path) -> Iterator[tuple[list[str], str]]:
    """Read the rows, the header first, each with the text that it stands in; empty lines are left out.

    Args:
        path: The file.

    Yields:
        The cells without the quotation, and their text with the end of line, if it has one.

    Raises:
        DataError: The file is empty, damaged, not UTF-8, has rows of different length, or a huge field.
    """
    delimiter = csv_delimiter(path)
    with _opened(path) as file, _field_limit():
        lines = _Lines(path, file)
        reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
        width = 0
        try:
            for row in reader:
                if lines.row > FIELD_LIMIT:
                    _check_fields(path, reader.line_num, row)
                text = lines.take()
                if not row:
                    continue
                width = width or len(row)
                if len(row) != width:
                    raise DataError(
                        f"{path}, line {reader.line_num:,}: {len(row)} fields, but the header has {width}",
                        "Quote fields that hold the separator, and give every row as many fields as the header.",
                    )
                if width > 1 and text.count("\n") > 1:
                    _check_swallowed(path, reader.line_num, text, delimiter, width)
                yield row, text
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num:,}: {error}",
                "Close the quotation, and double the quotation marks inside it.",
            ) from error
    if not width:
        raise DataError(f"{path} is empty", "Give it a header line and rows.")


def read_csv(path: Path) -> pa.Table:
    """Read a file as a table of texts.

    Args:
        path: The file.

    Returns:
        An Arrow table of large strings; columns without a name are called as pandas does, "Unnamed: 0". Its metadata
        hold the separator.

    Raises:
        DataError: See `csv_rows`; or two columns have the same name, or there are no rows.
    """
    import pyarrow as pa

    rows = csv_rows(path)
    names = [name or f"Unnamed: {place}" for place, name in enumerate(next(rows))]
    repeated = sorted({name for name in names if names.count(name) > 1})[:5] if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"{path} has more than one column named {repeated[0]!r}", "Give each column its own name.")
    chunks: list[list[pa.Array]] = [[] for _ in names]

    def flush(part: list[list[str]]) -> None:
        for chunk, column in zip(chunks, zip(*part, strict=True), strict=True):
            chunk.append(pa.array(column, pa.large_string()))

    part: list[list[str]] = []
    for row in rows:
        part.append(row)
        if len(part) * len(names) >= _CHUNK * 64:
            flush(part)
            part = []
    if part:
        flush(part)
    if not chunks[0]:
        raise DataError(
            f"{path} has a header but no rows", "Add rows; if the first line is data, add a header above it."
        )
    columns = [pa.chunked_array(chunk, pa.large_string()) for chunk in chunks]
    return pa.table(columns, names=names, metadata={"separator": csv_delimiter(path)})
