"""One writer per folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from selfdistill._core.errors import RunError

try:
    import fcntl
except ImportError:  # not on this platform: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "check_held", "is_held", "locked"]

LOCK = ".lock"
"""Name of the lock's file. One left by a dead process means nothing: the lock is the system's, not the file."""
_SHORT = 64  # bytes; a longer file is none of ours
_NOTHING: Mapping[Path, int] = {}
_HELD: ContextVar[Mapping[Path, int]] = ContextVar("held", default=_NOTHING)  # open lock files by folder


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Be the only process that writes to a folder.

    Where the platform or the file system has no locks, nothing is locked.

    Args:
        folder: A folder that exists.

    Yields:
        Nothing.

    Raises:
        RunError: Another process, or another thread of this one, has it; or its file is a link or no lock.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder):
        ...     (folder / LOCK).exists()
        True
        >>> (folder / LOCK).exists()
        False
    """  # noqa: DOC502 (raised by what is called)
    handle = _taken(folder)
    if handle is None:
        yield
        return
    before = _HELD.set({**_HELD.get(), folder.absolute(): handle})
    try:
        yield
    finally:
        if is_held(folder):  # else another's lies there by now
            (folder / LOCK).unlink(missing_ok=True)
        _HELD.reset(before)
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Tell whether a folder that this thread locked is still the same, with the same lock.

    Args:
        folder: The folder.

    Returns:
        False where it was removed, or removed and made anew by another; True also where nothing was locked.
    """
    handle = _HELD.get().get(folder.absolute())
    return handle is None or _is_file(folder / LOCK, handle)


def check_held(path: Path) -> None:
    """Refuse to write into a folder that was locked and is no longer ours.

    Args:
        path: The file that is to be written, in that folder or deeper.

    Raises:
        RunError: The folder was removed; perhaps another process made it anew.
    """
    for folder in set(path.absolute().parents).intersection(_HELD.get()):
        if not is_held(folder):
            raise RunError(
                f"{folder} was removed or replaced while this process wrote to it",
                "Start again with another --out, and leave the folder there while it is written to.",
            )


def _taken(folder: Path) -> int | None:
    """Take the lock, and write the number of this process into its file."""
    if fcntl is None:
        return None
    path = folder / LOCK
    while True:
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 20).decode("ascii", "replace").strip()
            os.close(handle)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise RunError(
                    f"{folder} is in use by another process{f' ({holder})' if holder else ''}",
                    "Wait until it ends, or start a new run with another --out.",
                ) from None
            path.unlink(missing_ok=True)
            return None
        if _is_file(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
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
        raise RunError(f"{path} is a link or no lock of selfdistill", "Remove it, or choose another folder.")
    return handle


def _is_file(path: Path, handle: int) -> bool:
    """Tell whether the open file is still the one that lies there."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False
