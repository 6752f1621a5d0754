"""Symmetric and thin products and triangular systems: by NumPy and SciPy on a CPU, where they take less time."""

from __future__ import annotations

import torch
from scipy.linalg import blas, lapack
from torch import Tensor


def gram(rows: Tensor) -> Tensor:
    """Compute products of rows ``[m, d]`` with each other, ``[m, m]``; on a CPU one triangle of them: half the time."""
    if rows.device.type != "cpu":
        return rows @ rows.T
    x = rows.numpy()
    return torch.from_numpy(x @ x.T)  # NumPy sees the symmetry


def thin(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply rows ``[n, r]`` with a few columns ``[r, K]``, by their transposes: two to five times as fast."""
    product: Tensor = (columns.T @ rows.T).T
    return product


def solve_lower(factor: Tensor, columns: Tensor) -> Tensor:
    """Solve ``factor @ x = columns`` for a lower triangular factor ``[m, m]``."""
    if factor.device.type != "cpu":
        found: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
        return found
    solve = blas.dtrsm if factor.dtype == torch.float64 else blas.strsm
    a, b = factor.numpy(), columns.numpy()
    if a.flags.f_contiguous:
        return torch.from_numpy(solve(1.0, a, b, lower=1))
    return torch.from_numpy(solve(1.0, a.T, b, lower=0, trans_a=1))  # a view: SciPy wants columns, and copies else


def inverse_factor(matrix: Tensor) -> Tensor | None:
    """Give X with ``X' X`` the inverse of a symmetric matrix, lower triangular; ``None`` where it is not definite."""
    wide = matrix.dtype == torch.float64
    factor, failed = (lapack.dpotrf if wide else lapack.spotrf)(matrix.numpy().T, lower=1)
    if failed:
        return None
    return torch.from_numpy((lapack.dtrtri if wide else lapack.strtri)(factor, lower=1, overwrite_c=1)[0])
