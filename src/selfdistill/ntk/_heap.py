"""Give memory that the C library's allocator keeps for later back to the system, where there is a way."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch

__all__ = ["release"]


def release(device: torch.device) -> None:
    """Return free pages: what small tensors left between others is of no use to a large one, but stays resident."""
    trim = _trim() if device.type == "cpu" else None
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
    return found
