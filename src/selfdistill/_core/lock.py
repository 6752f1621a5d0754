"""One writer per folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError

try:
    import fcntl
except ImportError:  # not on this platform: nothing is locked there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Name of the lock's file. One left by a dead process means nothing: the lock is the system's, not the file."""
_SHORT = 64  # bytes; a longer file is none of ours


@dataclass
class _Lock:
    """An open lock file, and what it must hold."""

    handle: int
    text: bytes = b""


_NOTHING: Mapping[Path, _Lock] = {}
_HELD: ContextVar[Mapping[Path, _Lock]] = ContextVar("held", default=_NOTHING)  # by folder


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Be the only process that writes to a folder."""
    # Where the platform has no locks, nothing is locked; where only the file system has none, the last to come has it.
    handle = _taken(folder)
    if handle is None:
        yield
        return
    before = _HELD.set({**_HELD.get(), folder.absolute(): _Lock(handle)})
    try:
        name_run(folder)
        yield
    finally:
        if is_held(folder):  # else another's lies there by now
            (folder / LOCK).unlink(missing_ok=True)
        _HELD.reset(before)
        os.close(handle)


def name_run(folder: Path, run: str = "") -> None:
    """Write into the lock who has it, and for which run."""
    lock = _HELD.get().get(folder.absolute())
    if lock is None:
        return
    if lock.text:
        check_held(folder / LOCK)
    lock.text = f"{os.getpid()} {run}".strip().encode("ascii", "replace")[:_SHORT]
    os.ftruncate(lock.handle, 0)
    os.pwrite(lock.handle, lock.text, 0)


def is_held(folder: Path) -> bool:
    """Tell whether a folder that this thread locked is still the same, with the same lock for the same run."""
    lock = _HELD.get().get(folder.absolute())
    if lock is None:
        return True
    return _is_file(folder / LOCK, lock.handle) and os.pread(lock.handle, _SHORT, 0) == lock.text


def check_held(path: Path) -> None:
    """Refuse to write into a folder that was locked and is no longer ours."""
    for folder in set(path.absolute().parents).intersection(_HELD.get()):
        if not is_held(folder):
            raise RunError(
                f"{folder} was removed or replaced while this process wrote to it",
                Advice("Start again with another {--out}, and leave the folder there while it is written to."),
            )


def _taken(folder: Path) -> int | None:
    """Take the lock."""
    if fcntl is None:
        return None
    path = folder / LOCK
    while True:
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                holder = os.read(handle, 20).decode("ascii", "replace").split(" ")[0]
                os.close(handle)
                raise RunError(
                    f"{folder} is in use by another process{f' ({holder})' if holder else ''}",
                    Advice("Wait until it ends", "start a new run with another {--out}."),
                ) from None
            return handle  # no locks here: the last process keeps the folder, the one before stops at its next write
        if _is_file(path, handle):
            return handle
        os.close(handle)  # its holder removed the file in between: try again with a new one


def _opened(path: Path) -> int:
    """Open the lock's file, or make it; a link is not followed, and what is no lock is left as it is."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise
        found = None
    else:
        found = os.fstat(handle)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_size > _SHORT:
        if found is not None:
            os.close(handle)
        raise RunError(f"{path} is a link, or not a lock file of selfdistill", "Remove it, or choose another folder.")
    return handle


def _is_file(path: Path, handle: int) -> bool:
    """Tell whether the open file is still the one that lies there."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False
