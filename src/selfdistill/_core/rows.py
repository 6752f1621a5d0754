"""Values with one row for each example, checked; and what a regression predicts of a row that it leaves out."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError


def check_finite(rows: Tensor, what: str, hint: str) -> None:
    """Refuse NaN and infinite values in ``[n, ...]``; ``what`` begins the message."""
    finite = torch.isfinite(rows.reshape(len(rows), -1)).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise DataError(f"{what} NaN or infinite values, the first in row {first}", hint)


def checked_rows(z: Tensor | np.ndarray, n: int, name: str) -> Tensor:
    """Return values per example as a tensor, having checked that there is one row per example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arrays that cannot be written to are only read here
        rows = torch.as_tensor(z)
    if rows.ndim not in {1, 2} or len(rows) != n:
        raise DataError(
            f"{name} has shape {tuple(rows.shape)}, but the kernel has {n} examples",
            f"Give one row for each example: [{n}] or [{n}, c].",
        )
    return rows


def left_out(targets: Tensor, residuals: Tensor, rest: Tensor) -> Tensor:
    """Predict each example by the ridge regression on all others."""
    # With the hat matrix H, which takes targets y to what the regression on all examples fits, and its block of example
    # i's own outputs,
    # f_i^{(-i)} = y_i - (I - H_{ii})^{-1} \bigl(y_i - (Hy)_i\bigr).
    # An, Liu & Venkatesh (2007), "Fast cross-validation algorithms for least squares support vector machine and kernel
    # ridge regression", Pattern Recognition 40.
    error: Tensor = torch.linalg.solve(rest, residuals) if rest.ndim == 3 else residuals / rest
    return targets - error
