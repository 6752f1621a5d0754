"""Count the bytes of tensors while they live, on any device, and the FLOPs of matrix products and convolutions."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_PLACING = {
    *("index", "index_select", "index_put", "index_put_", "_index_put_impl_", "index_add", "index_add_", "index_copy"),
    *("index_copy_", "gather", "scatter", "scatter_", "scatter_add", "scatter_add_", "take", "sort", "topk", "nonzero"),
    *("masked_select", "masked_scatter", "_local_scalar_dense", "_pack_padded_sequence", "bucketize", "searchsorted"),
}
_APART = {"select": 1, "unbind": 1, "slice": 1, "split": 2, "split_with_sizes": 2}  # where their argument `dim` stands


class PeakBytes(TorchDispatchMode):
    """Inside it, counts what is allocated for tensors; what an operation needs only while it runs is not seen."""

    def __init__(self, *, flops: bool = False, examples: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.alive = 0  # bytes held
        self.peak = 0  # most bytes held at once
        self.flops = 0  # FLOPs so far
        self.placed = False  # an operation was seen that can place rows by the values of numbers
        self.apart = False  # something of as many rows as there are examples was taken apart, as Python code may do
        self.epsilon = 0.0  # largest machine epsilon of the results
        self._dtypes: set[torch.dtype] = set()
        self._examples = examples
        self._formulas = flop_registry if flops else {}
        self._kinds: dict[Any, tuple[Any, bool, int | None]] = {}
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count its results."""
        out = func(*args, **(kwargs or {}))
        kind = self._kinds.get(func)
        if kind is None:
            packet = getattr(func, "overloadpacket", None)
            name = getattr(packet, "__name__", "")
            kind = self._kinds[func] = self._formulas.get(packet), name in _PLACING, _APART.get(name)
        formula, placed, axis = kind
        self.placed |= placed
        if axis is not None and args[0].shape[:1] == (self._examples,):
            self.apart |= (args[axis] if len(args) > axis else 0) in {0, -args[0].ndim}
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        there: set[int] | None = None
        for value in _tensors(out):
            if value.dtype not in self._dtypes:
                self._dtypes.add(value.dtype)
                inexact = value.is_floating_point() or value.is_complex()
                self.epsilon = max(self.epsilon, torch.finfo(value.dtype).eps if inexact else 0.0)
            storage = value.untyped_storage()
            key = storage._cdata
            if key in self._seen:
                continue
            if there is None:
                there = {v.untyped_storage()._cdata for v in _tensors((args, kwargs))}
            if key not in there:  # a view of what was there before is nothing new
                size = storage.nbytes()
                self._seen[key] = weakref.ref(storage, partial(self._gone, key, size))
                self.alive += size
                self.peak = max(self.peak, self.alive)
        return out

    def _gone(self, key: int, size: int, reference: object) -> None:
        self._seen.pop(key, None)
        self.alive -= size


def _tensors(value: Any) -> Sequence[Tensor]:
    """Find the tensors in arguments or results, which are nested in tuples, lists and dicts only."""
    if isinstance(value, Tensor):
        return (value,) if value.layout == torch.strided else ()
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, tuple | list):
        return ()
    return [tensor for one in value for tensor in _tensors(one)]
