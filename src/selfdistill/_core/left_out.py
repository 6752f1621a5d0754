"""Regression without an example, from the regression on all: the formula that leave-one-out comes down to."""

from __future__ import annotations

import torch
from torch import Tensor


def left_out(targets: Tensor, residuals: Tensor, rest: Tensor) -> Tensor:
    """Predict each example by the ridge regression on all others."""
    # With the hat matrix H, which takes targets y to what the regression on all examples fits, and its block of example
    # i's own outputs,
    # f_i^{(-i)} = y_i - (I - H_{ii})^{-1} \bigl(y_i - (Hy)_i\bigr).
    # An, Liu & Venkatesh (2007), "Fast cross-validation algorithms for least squares support vector machine and kernel
    # ridge regression", Pattern Recognition 40.
    error: Tensor = torch.linalg.solve(rest, residuals) if rest.ndim == 3 else residuals / rest
    return targets - error
