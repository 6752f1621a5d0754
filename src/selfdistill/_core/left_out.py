"""Regression without an example, from the regression on all: the formula that leave-one-out comes down to."""

from __future__ import annotations

import torch
from torch import Tensor


def left_out(targets: Tensor, residuals: Tensor, rest: Tensor) -> Tensor:
    r"""Predict each example by the ridge regression on all others.

    With the hat matrix H, which takes targets y to what the regression on all examples fits, and its block of example
    i's own outputs,

    .. math:: f_i^{(-i)} = y_i - (I - H_{ii})^{-1} \bigl(y_i - (Hy)_i\bigr).

    Args:
        targets: y, ``[n, C]``.
        residuals: y - Hy, ``[n, C]``; or this and ``rest`` divided by the same number.
        rest: Diagonal of I - H, ``[n, 1]``; or its blocks where an example's outputs share a kernel, ``[n, C, C]``.

    Returns:
        Predictions, ``[n, C]``. Cost: ``n C`` FLOPs, or ``n C³`` for blocks.

    References:
        An, Liu & Venkatesh (2007), "Fast cross-validation algorithms for least squares support vector machine and
        kernel ridge regression", Pattern Recognition 40.

    Example:
        >>> y = torch.tensor([[1.0], [2.0], [6.0]])  # the regression is their mean: H is 1/3 everywhere
        >>> left_out(y, y - y.mean(0), torch.full((3, 1), 2 / 3))
        tensor([[4.0000],
                [3.5000],
                [1.5000]])
    """
    error: Tensor = torch.linalg.solve(rest, residuals) if rest.ndim == 3 else residuals / rest
    return targets - error
