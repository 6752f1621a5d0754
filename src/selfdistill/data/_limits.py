"""How much a file may unfold to before it is refused, and reading that keeps to it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from selfdistill._core.errors import DataError, one_line
from selfdistill._core.memory import free_memory

FIELD_LIMIT = 2**20  # characters in one field of a CSV file
ROW_LIMIT = 2**26  # characters in one row of a CSV file
COLUMN_LIMIT = 50_000  # columns of a table; each takes some milliseconds and kilobytes of its own
PIXEL_LIMIT = 64_000_000  # pixels in one image that is read
TRAIN_PIXEL_LIMIT = 2**20
"""Pixels in one image that is trained on: a batch of 16 takes 200 MB, and a layer of 16 channels 1 GB."""
_EXPAND_LIMIT = 16 * 2**30
_BLOCK = 2**20
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError)
# Of a file that it cannot unpack, zipfile also raises NotImplementedError (a compression method that Python lacks) and
# RuntimeError (a password): both tell of the file, and become one line that names it. Neither hides a fault here.
DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, *DAMAGED)
"""What reading a damaged packed file raises."""


def expand_limit() -> int:
    """Bytes that one source may take in memory: 16 GiB, or the machine's memory where that is less."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this platform
        return _EXPAND_LIMIT
    return min(_EXPAND_LIMIT, memory) if memory > 0 else _EXPAND_LIMIT


def check_columns(count: int, where: str) -> None:
    """Refuse a table of more columns than are told apart one by one."""
    if count > COLUMN_LIMIT:
        raise DataError(
            f"{where} has {count:,} columns, but tables have at most {COLUMN_LIMIT:,}",
            "Save columns that are all numbers as one array: an npz file with x [n, d] and y [n].",
        )


def check_names(names: Sequence[str], where: str, more: str = "") -> None:
    """Refuse two columns of one name."""
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise DataError(f"{where} has more than one column named {name!r}", f"Give each column its own name{more}.")


def check_size(what: str, size: int) -> None:
    """Refuse what would unfold to more bytes than `expand_limit`, or than are free."""
    limit = expand_limit()
    if size > limit:
        raise DataError(
            f"{what} unpacks to {size / 2**30:,.1f} GiB, but at most {limit / 2**30:,.1f} GiB are read",
            "Use a part of the data, or a machine with more memory.",
        )
    free = free_memory() if size > 2**24 else None
    if free is not None and size > free:
        raise DataError(
            f"{what} unpacks to {size / 2**30:,.1f} GiB, but {max(free, 0) / 2**30:,.1f} GiB of memory are free",
            "Use a part of the data, or free some memory.",
        )


def damaged(path: Path, error: Exception, hint: str = "Fetch the file again.", what: str = "damaged") -> DataError:
    """Say in one line what another library says of a file."""
    return DataError(f"{path} is truncated or {what}: {one_line(error) or type(error).__name__}", hint)


def unpacked_name(path: Path) -> str:
    """Give a file's name as it is called when unpacked, in small letters."""
    name = path.name.lower()
    packed = name.endswith((".gz", ".bz2", ".xz", ".zst"))
    return name.rpartition(".")[0] if packed else name


def by_number(path: Path) -> list[int]:
    """Give the numbers in a file's name, to sort by: 2 before 10."""
    return [int(part) if part.isdecimal() else 0 for part in re.split(r"(\d+)", path.name)]


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip, bzip2, xz or Zstandard where its name says so."""
    ending = path.suffix.lower()
    if ending == ".zst":
        return cast(IO[bytes], io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")))
    if ending == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if ending == ".bz2":
        return bz2.open(path, "rb")
    return lzma.open(path, "rb") if ending == ".xz" else path.open("rb")


def read_whole(file: IO[bytes], what: str) -> bytes:
    """Read to the end, in blocks: `read` of a number sets that many bytes aside, even for a small file."""
    data = bytearray()
    while block := file.read(_BLOCK):
        data += block
        check_size(what, len(data))
    return bytes(data)
