"""The few things that are asked of a process group; each is the identity where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def active() -> bool:
    """Say whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def world() -> int:
    """Count the processes, 1 without a process group."""
    return dist.get_world_size() if active() else 1


def rank() -> int:
    """Give the number of this process, 0 without a process group."""
    return dist.get_rank() if active() else 0


def sum_over_processes(value: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    if world() > 1:
        dist.all_reduce(value)
    return value


def share(n: int) -> slice:
    """Give the rows that fall to this process: contiguous, and as many as the others have, give or take one."""
    return slice(rank() * n // world(), (rank() + 1) * n // world())


def from_first(make: Callable[[], T]) -> T:
    """Let process 0 compute something, which the others take over as it is."""
    if world() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    found: T = box[0]
    return found


def from_all(value: T) -> list[T]:
    """Give the values of all processes, in their order, to each."""
    found: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(found, value)
    return found


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        dist.barrier()
