"""How a text file is written: its encoding, what separates fields, and what stands around the rows."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from selfdistill._core.advice import Advice, Notice
from selfdistill._core.errors import DataError
from selfdistill.data._limits import DAMAGED, damaged, expand_limit, open_bytes, unpacked_name

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 2**20
_SAMPLE = 2**16  # bytes of lines that are not ASCII
_HEAD = 4096


def not_text(path: Path) -> DataError:
    """Say what a file is that holds NUL bytes: a workbook or archive, or something else that is no text."""
    with open_bytes(path) as raw:
        head = raw.read(_HEAD)
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return DataError(
            f"{path} is a workbook or an archive, not a CSV file", "Export it as CSV, or give it its own ending, .xlsx."
        )
    return DataError(
        f"{path} is not a text file: it holds NUL bytes", "Export the data as CSV in UTF-8, or as Parquet."
    )


def find_encoding(path: Path, named: str | None = None) -> tuple[str, str]:
    """Find out in which encoding a file is, as Python calls it; and a sentence for the user where it is not UTF-8."""
    try:
        return _found(path) if named is None else _named_encoding(path, named)
    except DAMAGED as error:
        raise damaged(path, error) from error


def _named_encoding(path: Path, named: str) -> tuple[str, str]:
    try:
        name = codecs.lookup(named).name
        "".encode(name)
    except (LookupError, UnicodeError):
        raise DataError(
            f"encoding is {named!r}, which is not a known encoding",
            "Give one such as utf-8, cp1252 or utf-16.",
            param="encoding",
        ) from None
    with open_bytes(path) as raw:
        marked = name == "utf-8" and raw.read(3) == codecs.BOM_UTF8
    return "utf-8-sig" if marked else name, ""


def _found(path: Path) -> tuple[str, str]:
    with open_bytes(path) as raw:
        head = raw.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, ""
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise not_text(path)
    if _is_utf8(path) and b"\0" not in head:
        return "utf-8", ""
    strange = _strange_lines(path)
    guess = _guess(head if b"\0" in head else strange)
    if guess is None:
        if b"\0" in head:
            raise not_text(path)
        raise DataError(
            f"{path} is not UTF-8, and its encoding cannot be detected", Advice("Say which with {--encoding}.")
        )
    words = (strange or head).decode(guess, "ignore").replace(",", " ").replace(";", " ").split()
    example = next((f", such as {word[:40]!r}" for word in words if not word.isascii() and word.isprintable()), "")
    return guess, Notice(f"{path} is not UTF-8 and is read as {guess}{example}", "{--encoding} to choose another.")


def _is_utf8(path: Path) -> bool:
    decoder, total = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with open_bytes(path) as raw:
            while block := raw.read(_BLOCK):
                decoder.decode(block)
                total += len(block)
                if total > expand_limit():  # what reads the lines says so
                    return True
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _strange_lines(path: Path) -> bytes:
    """Give lines that are not ASCII."""
    sample = b""
    with open_bytes(path) as raw:
        while len(sample) < _SAMPLE and (line := raw.readline(_SAMPLE)):
            sample += b"" if line.isascii() else line
    return sample[:_SAMPLE]


def _guess(sample: bytes) -> str | None:
    import chardet

    name = chardet.detect(sample)["encoding"]
    if name is None or name.lower() in {"ascii", "utf-8"}:
        return None
    try:
        sample.decode(name, "ignore")
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        return None


_CHARACTERS = 2**18  # that are looked at
_TITLES = 50  # lines before the header
_MOST = 0.9  # share of rows of one length, below which spaces are tried
_LEAST = 3  # rows that must begin with a name
_DECLARED = re.compile(r'"?sep=(.)"?[ \t]*')
_SEPARATORS = "\t;|,"
"""From the one that is seldom part of a cell to the one that often is: of two that fit alike, the first is taken."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    separator: str = ","  # what separates fields; of a space, any number of them
    quote: str = '"'  # what stands around fields
    escape: str | None = None  # what stands before a quotation mark within a field; ``None``: another quotation mark
    before: int = 0  # lines before the header
    hashed: bool = False  # whether the header stands behind a ``#``
    spaced: bool = False  # whether a space follows each separator
    extra: str = ""  # the field more that rows have than the header: "names" first, "trailing" last, or ""
    encoding: str = "utf-8"  # as Python calls it
    messages: tuple[str, ...] = ()  # sentences for the user

    @property
    def plain(self) -> bool:
        """Whether a cell can be added to the text of each line."""
        return not (self.extra or self.hashed or self.escape or self.separator == " ") and self.quote == '"'

    def reader(self, lines: Iterator[str], *, strict: bool) -> Iterator[list[str]]:
        """Parse lines."""
        return csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            escapechar=self.escape,
            doublequote=self.escape is None,
            skipinitialspace=self.spaced or self.separator == " ",
            strict=strict,
        )


def comment(line: str, dialect: Dialect, width: int) -> bool:
    """Say whether a line between the rows that begins with # is a comment: it has another number of fields."""
    return width > 1 and len(next(dialect.reader(iter([line]), strict=False), [])) != width


def find_dialect(path: Path, encoding: str | None = None) -> Dialect:
    """Find out how a file is written."""
    # The separator is the one that divides the header and most rows into as many fields, two or more; of several, the
    # one that makes most fields. Spaces are tried last. Lines of one cell before a header of words are a title.
    encoding, message = find_encoding(path, encoding)
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding=encoding, newline="", errors="replace") as file:
            text = file.read(_CHARACTERS)
    except DAMAGED:
        text = ""  # what reads the rows says so
    lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    if len(text) == _CHARACTERS and len(lines) > 1:
        lines.pop()
    first = next((place for place, line in enumerate(lines) if line.strip()), 0)
    declared = _DECLARED.fullmatch(lines[first].rstrip("\r\n")) if lines else None
    start = first + 1 if declared else 0
    tabbed = unpacked_name(path).endswith((".tsv", ".tab")) and (not lines or any("\t" in line for line in lines))
    tries = [declared[1]] if declared else list("\t" if tabbed else _SEPARATORS)
    best = max((_try(lines, mark, start) for mark in tries), key=lambda one: one.rank)
    if not declared and best.rank.share < _MOST:
        spaces = _try(lines, " ", start)
        aligned = any("  " in line.strip() for line in lines) or not unpacked_name(path).endswith(".csv")
        if not spaces.titles and (aligned or spaces.rank.fields > 2):
            best = max(best, spaces, key=lambda one: one.rank)
    best = best if declared or best.rank.fields > 1 else _try(lines, ",", start)
    notes = [message] if message else []
    if best.titles:
        title = " / ".join(best.titles)
        notes.append(f"{path} has a title before its header, which is left out: {title[:80]!r}.")
    if best.dialect.extra == "names":
        notes.append(f"{path} has one name less than columns: the first column is taken as names of the rows.")
    return replace(best.dialect, encoding=encoding, messages=tuple(notes))


class _Rank(NamedTuple):
    """What speaks for a separator, the strongest first."""

    share: float = 0.0  # of rows that have as many fields as most; 0 where the header does not go with them
    titles: int = 0  # minus the lines of a title
    fits: int = 0  # 2 where the header has as many fields as most rows, 1 where it has one less, and that can be
    fields: int = 0  # of most rows; where the header does not go with them, of the header


@dataclass(frozen=True)
class _Try:
    """A dialect, the title above its header, and what speaks for it."""

    dialect: Dialect
    titles: tuple[str, ...] = ()
    rank: _Rank = field(default_factory=_Rank)


def _try(lines: Sequence[str], mark: str, start: int) -> _Try:
    """Read lines with one separator."""
    quote, escape = _quotation(lines[start:], mark)
    dialect = Dialect(mark, quote, escape)
    body = start
    while body < len(lines) and (not lines[body].strip() or lines[body].startswith("#")):
        body += 1
    rows = list(_rows(lines[body:], dialect))
    if not rows:
        return _Try(replace(dialect, before=start))
    known = [row for row, _ in rows if any(row)]
    width = Counter(map(len, known[1:] or known)).most_common(1)[0][0] if known else 0
    head = header_place([row for row, _ in rows], width)
    before = body + (rows[head - 1][1] if head else 0)
    titles = tuple(next(filter(None, row), "").strip() for row, _ in rows[:head])
    header, rest = rows[head][0], [row for row, _ in rows[head + 1 :] if any(row)]
    hashed = _hashed(lines[start:body], dialect, header) if not head else None
    if hashed is not None:
        before, header, rest = start + hashed[0], hashed[1], [row for row, _ in rows]
    extra = _extra(header, rest, width)
    fits = 2 if len(header) == width else 1 if extra else 0
    share = sum(len(row) == width for row in rest) / len(rest) if rest else 1.0
    titles = titles if any(titles) else ()
    rank = _Rank(share, -len(titles), fits, width) if width > 1 and fits else _Rank(fields=len(header))
    spaced = width > 1 and all(cell[:1] == " " for row in (header, *rest) for cell in row[1:])
    dialect = replace(dialect, before=before, hashed=hashed is not None, spaced=spaced, extra=extra)
    return _Try(dialect, titles, rank)


def _rows(lines: Sequence[str], dialect: Dialect) -> Iterator[tuple[list[str], int]]:
    """Rows that hold something, each with the number of lines up to its end; spaces at the end are no field."""
    clean = (line.rstrip() + "\n" if dialect.separator == " " else line for line in lines)
    reader = dialect.reader(clean, strict=False)
    try:
        for row in reader:
            if row:
                yield row, reader.line_num  # type: ignore[attr-defined]
    except csv.Error:
        return


def _quotation(lines: Sequence[str], mark: str) -> tuple[str, str | None]:
    """Find out what stands around fields, and what before a quotation mark within one."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first[:1] == "'" == first[-1:] and f"'{mark}'" in first:
        return "'", None
    slashed = any('\\"' in line for line in lines)
    other = slashed and not _strict(lines, Dialect(mark)) and _strict(lines, Dialect(mark, escape="\\"))
    return '"', "\\" if other else None


def _strict(lines: Sequence[str], dialect: Dialect) -> bool:
    try:
        for _ in dialect.reader(iter(lines), strict=True):
            pass
        return True
    except csv.Error:
        return False


def header_place(rows: Sequence[Sequence[str]], width: int) -> int:
    """Find the header: behind lines of one cell, a title, where it consists of different words."""
    place = next((place for place, row in enumerate(rows[:_TITLES]) if sum(map(bool, row)) > 1), 0)
    row, rest, above = rows[place], rows[place + 1 :], rows[:place]
    named = [cell for i, cell in enumerate(row) if cell or 0 < i < len(row) - 1]  # the first and last may have no name
    words = all(cell.strip() and not _is_number(cell) for cell in named) and len(set(named)) == len(named)
    if not words or not width - 1 <= len(row) <= width or len(rest) < 2:
        return 0
    worded = any(" " in cell.strip() for one in above for cell in one)
    numbers = any(all(_is_number(one[-i]) for one in rest if len(one) == width) for i in range(1, width + 1))
    return place if (worded or numbers) and (worded or width > 2) else 0


def _hashed(before: Sequence[str], dialect: Dialect, first: Sequence[str]) -> tuple[int, list[str]] | None:
    """Find a header behind # above rows that hold numbers where it has words: its line and cells."""
    marked = [place for place, line in enumerate(before) if line.startswith("#")]
    if not marked:
        return None
    header = next(dialect.reader(iter([before[marked[-1]][1:].strip()]), strict=False), [])
    pairs = list(zip(header, first, strict=False))
    if len(header) != len(first) or not any(_is_number(cell) for _, cell in pairs) or any(map(_is_number, header)):
        return None
    return marked[-1], header


def _extra(header: Sequence[str], rest: Sequence[Sequence[str]], width: int) -> str:
    """Say what the one field more is that rows have and the header has not."""
    rows = [row for row in rest if len(row) == width]
    if len(header) != width - 1 or not rows or len(header) < 2:
        return ""
    if not any(row[-1] for row in rows):
        return "trailing"
    names = [row[0] for row in rows]
    if len(names) < _LEAST or len(set(names)) < len(names) or not all(names):
        return ""
    counted = [str(number) for number in itertools.islice(itertools.count(int(names[0] == "1")), len(names))]
    return "names" if names == counted or not any(map(_is_number, names)) else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip().replace(",", "."))
    except ValueError:
        return False
    return True
