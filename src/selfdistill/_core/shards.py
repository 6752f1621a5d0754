"""Rows that are spread over processes: which are here, sums over all of them, and rows of the whole."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.dist import rank, sum_over_processes, world
from selfdistill._core.errors import SettingError

_SHARD: ContextVar[Shard | None] = ContextVar("shard", default=None)


class Shard(NamedTuple):
    """The rows ``start`` to ``stop`` of ``n``, which this process keeps; all of them where nothing is spread."""

    n: int
    start: int
    stop: int

    @property
    def spread(self) -> bool:
        """Whether other rows lie with other processes."""
        return self.stop - self.start < self.n

    def total(self, value: Tensor) -> Tensor:
        """Sum over the processes, in place; the value itself where nothing is spread."""
        return sum_over_processes(value) if self.spread else value

    def block(self, own: Tensor, rows: slice = slice(None)) -> Tensor:
        """Give rows of the whole in every process, from those that each has; call it in all with the same rows."""
        if not self.spread:
            return own[rows]
        start, stop, _ = rows.indices(self.n)
        kind = torch.uint8 if own.dtype == torch.bool else own.dtype  # there is no sum of booleans
        found = own.new_zeros(stop - start, *own.shape[1:], dtype=kind)
        first, last = max(start, self.start), min(stop, self.stop)
        if first < last:
            found[first - start : last - start] = own[first - self.start : last - self.start]
        return sum_over_processes(found).to(own.dtype)

    def as_distributed(self, own: Tensor) -> Tensor:
        """Let torch know that ``own`` is a part of something, so that its checkpoints fit any number of processes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor
        from torch.distributed.tensor import Shard as Along

        shape = torch.Size((self.n, *own.shape[1:]))
        mesh = init_device_mesh(own.device.type, (world(),))
        return DTensor.from_local(own, mesh, [Along(0)], run_check=False, shape=shape, stride=own.stride())

    def local(self, value: Tensor) -> Tensor:
        """Give this process's part of a tensor ``[n, ...]`` that is spread, or of one that is whole."""
        return value.to_local() if hasattr(value, "to_local") else value[self.start : self.stop]


def whole(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put rows that are spread together in every process, for a file that one of them writes; call it in all."""
    return {name: part.full_tensor() if hasattr(part, "full_tensor") else part for name, part in state.items()}


def shard_of(n: int, spread: bool) -> Shard:
    """Say which rows this process keeps: those that torch's own sharding gives it, contiguous."""
    size = -(-n // world()) if spread else n
    if spread and size * (world() - 1) >= n:
        raise SettingError(f"{n} examples cannot be spread over {world()} processes", "Leave shard out.")
    first = rank() * size if spread else 0
    return Shard(n, first, min(first + size, n))


@contextmanager
def over_processes(shard: Shard) -> Generator[None]:
    """Let what is built within know that its rows are those of a shard."""
    token = _SHARD.set(shard)
    try:
        yield
    finally:
        _SHARD.reset(token)


def current_shard(rows: int) -> Shard:
    """Give the shard that ``rows`` rows belong to: that of `over_processes`, or the whole of them."""
    return _SHARD.get() or Shard(rows, 0, rows)
