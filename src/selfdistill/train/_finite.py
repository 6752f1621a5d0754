"""Weights that are no numbers, or not of the network's types, are refused where they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from selfdistill._core.errors import RunError

__all__ = ["check_finite", "check_types"]


def check_finite(path: Path, weights: Mapping[str, object], again: str) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        path: Where they were read from.
        weights: Tensors by name; what is none is left alone.
        again: What to do about it.

    Raises:
        RunError: Names the first such tensor.

    Example:
        >>> check_finite(Path("a.pt"), {"w": torch.tensor([1.0, float("nan")])}, "Train again.")
        Traceback (most recent call last):
        selfdistill._core.errors.RunError: a.pt is damaged: 1 of 2 numbers of 'w' is not finite. Train again.
    """
    for name, tensor in weights.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            verb = "is" if bad == 1 else "are"
            raise RunError(
                f"{path} is damaged: {bad:,} of {tensor.numel():,} numbers of {name!r} {verb} not finite", again
            )


def check_types(weights: Mapping[str, object], network: nn.Module) -> None:
    """Refuse weights of other types than the network's: they would be cast in silence, or fail at the first input.

    Args:
        weights: Tensors by name.
        network: Where they shall go; it may be one of shapes alone.

    Raises:
        ValueError: Names the first such tensor. What is missing or has another shape is for ``load_state_dict`` to say.

    Example:
        >>> check_types({"bias": torch.zeros(2, dtype=torch.float64)}, nn.Linear(3, 2))
        Traceback (most recent call last):
        ValueError: 'bias' is torch.float64 instead of torch.float32
    """
    for name, wanted in network.state_dict().items():
        found = weights.get(name)
        if isinstance(found, torch.Tensor) and found.dtype != wanted.dtype:
            raise ValueError(f"{name!r} is {found.dtype} instead of {wanted.dtype}")
