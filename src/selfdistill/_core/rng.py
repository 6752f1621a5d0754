"""Randomness from (seed, purpose, counters): no state to save, so a resumed run draws what the whole run would have."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

__all__ = ["derive", "numpy_generator", "torch_generator"]


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 63-bit seed from a master seed and a purpose.

    Args:
        seed: The master seed of the run.
        *purpose: Words and counters, such as ``"shuffle", epoch``.

    Returns:
        An integer in [0, 2^63), the same on every machine.

    Example:
        >>> derive(0, "shuffle", 3) == derive(0, "shuffle", 3) != derive(0, "shuffle", 4)
        True
    """
    text = "\x1f".join([str(int(seed)), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Make a CPU generator for one purpose; permutations are then the same whatever the device.

    Args:
        seed: The master seed.
        *purpose: See `derive`.

    Returns:
        A fresh CPU generator.
    """
    return torch.Generator().manual_seed(derive(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Make a NumPy generator for one purpose.

    Args:
        seed: The master seed.
        *purpose: See `derive`.

    Returns:
        A fresh generator.
    """
    return np.random.default_rng(derive(seed, *purpose))
