"""Matrices with a row for each example: worked through in blocks, and kept in memory or in files without a name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.files import translate_disk_full

_BLOCK = 2**20  # entries that are worked on at once: 4 MiB of float32, of which there are some ten
_FOLDER: ContextVar[Path | None] = ContextVar("folder", default=None)


def row_blocks(rows: int, width: int) -> Iterator[slice]:
    """Cut rows into blocks of about a million entries."""
    step = max(1, _BLOCK // max(width, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


@contextmanager
def in_files(folder: Path | str | None) -> Generator[None]:
    """Let `row_zeros` make files in a folder; in memory with ``None``."""
    token = _FOLDER.set(None if folder is None else Path(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def kept_in_files() -> bool:
    """Say whether `row_zeros` makes files."""
    return _FOLDER.get() is not None


def row_zeros(rows: int, width: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None) -> Tensor:
    """Make a matrix of zeros, in memory or, within `in_files`, in a file that goes with the matrix or the process."""
    folder = _FOLDER.get()
    if folder is None or not rows * width:
        return torch.zeros(rows, width, dtype=dtype, device=device)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    with translate_disk_full(folder / "state"), tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # to write into a file with holes on a full disk kills the process
            os.posix_fallocate(file.fileno(), 0, rows * width * kind.itemsize)
        return torch.from_numpy(np.memmap(file, kind, "w+", shape=(rows, width)))


def row_one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Write labels, int64 ``[n]``, as rows with a single 1, float32 ``[n, K]``, kept where `row_zeros` keeps them."""
    made = row_zeros(len(labels), num_classes, device=labels.device)
    return made.scatter_(1, labels[:, None], 1.0)
