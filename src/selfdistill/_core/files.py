"""Files written beside and renamed, so that a crash never leaves half of one; and digests of what lies on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, ResourceError
from selfdistill._core.lock import check_held

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LARGEST = 2**28  # bytes of JSON; a record of a million classes takes a tenth
_HALVES = re.compile(r"[\ud800-\udfff]")  # of pairs; alone no text in UTF-8
_BROKEN = (errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE)


def check_name(path: Path | str) -> None:
    """Refuse what no file can be called: the system would say so in its own words, wherever it is asked first."""
    text = str(path)
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
            return
        shown = text if len(text) <= 40 else text[:40] + "..."
        why = "it holds a NUL" if isinstance(error, ValueError) else f"it has {len(text):,} characters"
        raise DataError(f"{shown!r} cannot be the name of a file: {why}", "Name a file or folder.") from error


@contextmanager
def translate_disk_full(path: Path) -> Generator[None]:
    """Tell a full or broken disk in one line, whatever the library that writes makes of it."""
    # Python and pyarrow raise ``OSError``; torch a ``RuntimeError`` on top of it, safetensors an error of its own that
    # names the number in its text.
    try:
        yield
    except Exception as error:
        found = _disk_error(error)
        if found is None:
            raise
        if found in _FULL:
            raise ResourceError(
                f"no room on disk to write {path}",
                Advice("Free space on {parent} or choose another folder with {--out}.", parent=path.parent),
            ) from error
        raise ResourceError(
            f"{path} could not be written: {os.strerror(found)}",
            Advice("Check the disk", "choose another folder with {--out}."),
        ) from error


def _disk_error(error: BaseException | None) -> int | None:
    while error is not None:
        for number in (*_FULL, *_BROKEN):
            if (isinstance(error, OSError) and error.errno == number) or f"(os error {number})" in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def atomic(path: Path) -> Generator[Path]:
    """Give a temporary path in the same folder; on success sync it and rename it to ``path``."""
    # On an error the temporary file is removed and ``path`` keeps what it held.
    check_held(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        with translate_disk_full(path):
            yield part
            check_held(path)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            mode = path.stat().st_mode & 0o777 if path.is_file() else 0o666 & ~_umask()
            part.chmod(mode)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def made(folder: Path) -> Path:
    """Make a folder within a run directory, unless that was taken away."""
    check_held(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically. NaN and infinity are refused: JSON has no word for them."""
    with atomic(path) as part:
        part.write_text(json_text(value, indent=1) + "\n", encoding="utf-8")


def json_text(value: Any, indent: int | None = None) -> str:
    """Write ``value`` as JSON that UTF-8 can hold: bytes of a file's name that are no UTF-8 are written as numbers."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise ValueError(f"it has {size:,} bytes, but at most {_LARGEST:,} are read")
    return json.loads(path.read_text(encoding="utf-8"))


def digest(path: Path) -> str:
    """SHA-256 of a file, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_room(folder: Path, needed: int) -> None:
    """Refuse to start where the disk cannot hold what will be written."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder} has {free / 2**20:,.0f} MiB free, but the run needs about {needed / 2**20:,.0f} MiB",
            Advice("Free space or choose another folder with {--out}."),
        )
