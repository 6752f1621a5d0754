"""Weights that are no numbers are refused where they are read: they would predict in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from selfdistill._core.errors import RunError

__all__ = ["check_finite"]


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
