"""Count the bytes of tensors while they live, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakBytes"]


class PeakBytes(TorchDispatchMode):
    """Inside it, counts what is allocated for tensors; what an operation needs only while it runs is not seen.

    Example:
        >>> with PeakBytes() as counter:
        ...     x = torch.zeros(1000)
        ...     del x
        ...     y = torch.zeros(500)
        >>> counter.peak, counter.alive
        (4000, 2000)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.alive = 0
        self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count its results."""
        out = func(*args, **(kwargs or {}))
        there = {v.untyped_storage()._cdata for v in tree_leaves((args, kwargs)) if _has_storage(v)}
        for value in tree_leaves(out):
            if _has_storage(value):
                storage = value.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._seen and key not in there:  # a view of what was there before is nothing new
                    self._seen.add(key)
                    self.alive += size
                    self.peak = max(self.peak, self.alive)
                    weakref.finalize(storage, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


def _has_storage(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided
