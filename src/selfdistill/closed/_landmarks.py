"""Landmarks: the rows that a kernel is made from, and features of all others."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from selfdistill.closed._dense import gram, product, solve_lower
from selfdistill.networks._kernel_machine import of_cosines


def choose_landmarks(n: int, most: int) -> Tensor:
    """Choose rows evenly at random, with a fixed seed: the same rows for the same n."""
    if n <= most:
        return torch.arange(n)
    generator = torch.Generator().manual_seed(n)
    return torch.randperm(n, generator=generator)[:most].sort().values


class Landmarks:
    """Features whose inner products are the kernel, or its Nyström approximation from r landmarks."""

    # Cholesky factorisation with pivoting, k(L, L) = R R', takes rows in the order in which they add most to those
    # before, and stops where they add no more than rounding does; the others are left out. A row x becomes the features
    # k(x, L) R'^-1, whose inner products are k(x, L) k(L, L)^-1 k(L, x'): exact where all rows are landmarks.
    # Williams & Seeger (2001), "Using the Nyström method to speed up kernel machines"; Higham (1990), "Analysis of the
    # Cholesky decomposition of a semi-definite matrix".

    # positions: where the rows stand in the data, int64 [m]; their features are then known without a solution.

    def __init__(self, kernel: str, rows: Tensor, positions: Tensor | None = None) -> None:
        kernels = of_cosines(kernel, gram(rows))
        # what is left of a row's own value: directions of little variance may tell classes apart
        rounding = float(kernels.diagonal().mean()) * (1e-12 if rows.dtype == torch.float64 else 1e-5)
        factorise = lapack.dpstrf if rows.dtype == torch.float64 else lapack.spstrf
        factor, order, rank, _ = factorise(kernels.numpy(), tol=rounding, lower=1)
        stay = torch.from_numpy(order[:rank].astype(np.int64) - 1)
        self.kernel, self.rows, self.positions = kernel, rows[stay], None if positions is None else positions[stay]
        self.factor = torch.from_numpy(np.tril(factor[:rank, :rank]).T.copy()).T  # by columns, as solvers want it

    def __call__(self, rows: Tensor) -> Tensor:
        """Compute features."""
        values = of_cosines(self.kernel, product(rows, self.rows.T))
        return solve_lower(self.factor, values.T).T

    def own(self, which: Tensor) -> Tensor:
        """Give the features of some landmarks, by their numbers: rows of R."""
        return self.factor[which]

    def to(self, device: torch.device) -> Landmarks:
        """Move both matrices."""
        self.rows, self.factor = self.rows.to(device), self.factor.to(device)
        return self

    def coefficients(self, weights: Tensor) -> Tensor:
        """Turn weights of features into those of kernels with the landmarks."""
        turned: Tensor = torch.linalg.solve_triangular(self.factor.T.to(weights.dtype), weights, upper=True)
        return turned

    def rotated(self, rotation: Tensor) -> Callable[[Tensor], Tensor]:
        """Give features times a matrix in one product."""

        @functools.cache
        def both() -> Tensor:
            return self.coefficients(rotation)

        return lambda rows: product(of_cosines(self.kernel, product(rows, self.rows.T)), both())
