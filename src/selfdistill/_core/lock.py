"""One writer per folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from selfdistill._core.errors import RunError

try:
    import fcntl
except ImportError:  # not on this platform: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "locked"]

LOCK = ".lock"
"""Name of the lock's file. One left by a dead process means nothing: the lock is the system's, not the file."""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Be the only process that writes to a folder.

    Where the platform or the file system has no locks, nothing is locked.

    Args:
        folder: A folder that exists.

    Yields:
        Nothing.

    Raises:
        RunError: Another process, or another thread of this one, has it.

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
    try:
        yield
    finally:
        if handle is not None:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(handle)


def _taken(folder: Path) -> int | None:
    """Take the lock, and write the number of this process into its file."""
    if fcntl is None:
        return None
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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


def _is_file(path: Path, handle: int) -> bool:
    """Tell whether the open file is still the one that lies there."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
