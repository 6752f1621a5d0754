"""Memory that is not there, told in one line, whichever library asked for it."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

from selfdistill._core.errors import ResourceError

__all__ = ["enough_memory"]

_SHORT = re.compile(r"out of memory|(can't|cannot|unable to) allocate", re.IGNORECASE)
_AMOUNT = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)")


@contextmanager
def enough_memory(way_out: str) -> Generator[None]:
    """Tell a refused allocation in one line: a ``MemoryError``, or a ``RuntimeError`` of torch that means the same.

    Where the system grants memory that it does not have, and then kills the process, nothing can be told.

    Args:
        way_out: What takes less memory.

    Yields:
        Nothing.

    Raises:
        ResourceError: Memory was asked for in vain.

    Example:
        >>> with enough_memory("Take less data."):
        ...     raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        Traceback (most recent call last):
        selfdistill._core.errors.ResourceError: there is no memory for another 2.0 GiB. Take less data.
    """  # noqa: DOC501 (what is no lack of memory passes as it came)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _SHORT.search(str(error)):
            raise
        found = _AMOUNT.search(str(error))
        amount = f"another {_size(*found.groups())}" if found else "this"
        raise ResourceError(f"there is no memory for {amount}", way_out) from error


def _size(number: str, unit: str) -> str:
    size = float(number) * 1024 ** ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
