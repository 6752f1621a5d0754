"""The few things that per-sample state asks of a process group; each is the identity where there is none."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

__all__ = ["barrier", "rank", "sum_over_processes", "world"]


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
    """Sum a tensor over all processes, in place.

    Args:
        value: Any shape; the same on each process. Cost: one all-reduce.

    Returns:
        ``value`` itself.
    """
    if world() > 1:
        dist.all_reduce(value)
    return value


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        dist.barrier()
