"""Randomness from (seed, purpose, counters): no state to save, so a resumed run draws what the whole run would have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, final

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 63-bit seed from a master seed and a purpose."""
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Make a CPU generator for one purpose; permutations are then the same whatever the device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Make a NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))


@final
class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Gives the operations that initialise weights a generator of their own, in this thread."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.generator = generator

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        own = {"generator": self.generator} if func in _FILLS else {}
        return func(*args, **{**(kwargs or {}), **own})


_FILLS = (torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default)


def drawing_from(generator: torch.Generator) -> AbstractContextManager[object]:
    """Let weights be initialised from a generator, as the global one with its state would do it."""
    # The layers of torch take no generator, and the global one is every thread's.
    return _Draws(generator)
