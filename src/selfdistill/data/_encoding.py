"""In which encoding a text file is: UTF-8 where its bytes are, else by its mark or by what its words look like."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import NamedTuple

from selfdistill._core.errors import DataError
from selfdistill.data._limits import DAMAGED, damaged, expand_limit, open_bytes

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


class Encoding(NamedTuple):
    """What a text file is written in."""

    name: str  # as Python calls it
    said: str = ""  # a sentence for the user where it is not UTF-8, else ""


def not_text(path: Path) -> DataError:
    """Say what a file is that holds NUL bytes: a workbook or archive, or something else that is no text."""
    with open_bytes(path) as raw:
        head = raw.read(_HEAD)
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return DataError(
            f"{path} is a workbook or an archive, no CSV file", "Export it as CSV, or give it its own ending, .xlsx."
        )
    return DataError(f"{path} is no text: it holds NUL bytes", "Export the data as CSV in UTF-8, or as Parquet.")


def find_encoding(path: Path, told: str | None = None) -> Encoding:
    """Find out in which encoding a file is."""
    try:
        return _found(path) if told is None else _told(path, told)
    except DAMAGED as error:
        raise damaged(path, error) from error


def _told(path: Path, told: str) -> Encoding:
    try:
        name = codecs.lookup(told).name
        "".encode(name)
    except (LookupError, UnicodeError):
        raise DataError(
            f"--encoding is {told!r}, which is no encoding that is known", "Give one such as utf-8, cp1252 or utf-16."
        ) from None
    with open_bytes(path) as raw:
        marked = name == "utf-8" and raw.read(3) == codecs.BOM_UTF8
    return Encoding("utf-8-sig" if marked else name)


def _found(path: Path) -> Encoding:
    with open_bytes(path) as raw:
        head = raw.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name)
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise not_text(path)
    strange = _not_utf8(path)
    if not strange and b"\0" not in head:
        return Encoding("utf-8")
    guess = _guess(head if b"\0" in head else strange)
    if guess is None:
        if b"\0" in head:
            raise not_text(path)
        raise DataError(f"{path} is not UTF-8, and in no encoding that can be told", "Say which with --encoding.")
    return Encoding(guess, _sentence(path, strange or head, guess))


def _not_utf8(path: Path) -> bytes:
    """Give lines that are not ASCII, of a file that is not UTF-8; nothing of one that is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    strange, bad, total, rest = bytearray(), False, 0, b""
    with open_bytes(path) as raw:
        while block := raw.read(_BLOCK):
            total += len(block)
            if total > expand_limit():  # what reads the lines says so
                break
            if not bad:
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    bad = True
            if not block.isascii():
                lines = (rest + block).split(b"\n")
                strange += b"\n".join(line for line in lines[:-1] if not line.isascii())[:_SAMPLE] + b"\n"
                rest = lines[-1][:_SAMPLE]
            if bad and len(strange) >= _SAMPLE:
                break
    if not bad:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            bad = True
    return bytes(strange[:_SAMPLE] + rest) if bad else b""


def _guess(sample: bytes) -> str | None:
    try:
        import chardet
    except ImportError:  # of an install from before it was needed
        return None
    name = chardet.detect(sample)["encoding"]
    if name is None or name.lower() in {"ascii", "utf-8"}:
        return None
    try:
        sample.decode(name, "ignore")
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        return None


def _sentence(path: Path, sample: bytes, name: str) -> str:
    words = sample.decode(name, "ignore").replace(",", " ").replace(";", " ").split()
    shown = next((f", such as {word[:40]!r}" for word in words if not word.isascii() and word.isprintable()), "")
    return f"{path} is not UTF-8 and is read as {name}{shown}; --encoding to choose another."
