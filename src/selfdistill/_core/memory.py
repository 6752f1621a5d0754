"""Too little memory, reported in one line: estimated before it is taken, or refused to a library."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfdistill._core.errors import ResourceError

_SHORT = re.compile(r"out of memory|(can't|cannot|unable to) allocate", re.IGNORECASE)
_AMOUNT = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)")


@contextmanager
def translate_out_of_memory(hint: str) -> Generator[None]:
    """Report a refused allocation in one line: ``MemoryError``, or a ``RuntimeError`` of torch that means the same."""
    # Where the system grants memory that it does not have, and then kills the process, nothing can be reported.
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _SHORT.search(str(error)):
            raise
        found = _AMOUNT.search(str(error))
        short = f": {_size(*found.groups())} more could not be allocated" if found else ""
        raise ResourceError(f"out of memory{short}", hint) from error


def _size(number: str, unit: str) -> str:
    size = float(number) * 1024 ** ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


_GROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Limit and use of a group of processes, such as a container, in both versions of Linux's control groups."""


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text().split()[0])
    return None


def _of_machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None


def _of_group(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    pairs = [(_number(root / limit), _number(root / used)) for limit, used in _GROUPS]
    left = [limit - used for limit, used in pairs if limit is not None and used is not None]
    return min(left, default=None)


def _of_process() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return None if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()
    return None


def free_memory() -> int | None:
    """Give the bytes that this process may take: what the machine, its container and its own limit leave."""
    return min((left for left in (_of_machine(), _of_group(), _of_process()) if left is not None), default=None)


def check_memory(what: str, needed: int, hint: str) -> None:
    """Refuse to start what takes more memory than is free, before the system kills the process in the middle of it."""
    free = free_memory() if needed > 2**24 else None  # what is small is not worth a look
    if free is not None and needed > free:
        wanted, available = (_size(str(size), "bytes") for size in (needed, max(free, 0)))
        found = f"{what} take about {wanted} of memory, but {available} are free"
        raise ResourceError(found, hint)
