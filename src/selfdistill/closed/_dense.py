"""Products, triangular systems, factors and eigenpairs: by NumPy and SciPy on a CPU, where they take less time."""

from __future__ import annotations

import scipy.linalg
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
    found: Tensor = (columns.T @ rows.T).T
    return found


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply two matrices: on some processors half as fast again as torch."""
    if rows.device.type != "cpu":
        return rows @ columns
    return torch.from_numpy(rows.numpy() @ columns.numpy())


def eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Give eigenvalues, rising, and eigenvectors of a symmetric matrix, which is overwritten."""
    if matrix.device.type != "cpu":
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    values, vectors = scipy.linalg.eigh(matrix.numpy().T, driver="evd", overwrite_a=True, check_finite=False)
    return torch.from_numpy(values), torch.from_numpy(vectors)


def solve_lower(factor: Tensor, columns: Tensor) -> Tensor:
    """Solve ``factor @ x = columns`` for a lower triangular factor ``[m, m]``; ``columns`` may be overwritten."""
    if factor.device.type != "cpu":
        found: Tensor = torch.linalg.solve_triangular(factor, columns, upper=False)
        return found
    solve = blas.dtrsm if factor.dtype == torch.float64 else blas.strsm
    return torch.from_numpy(solve(1.0, factor.numpy(), columns.numpy(), lower=1, overwrite_b=1))


def cholesky(matrix: Tensor) -> Tensor | None:
    """Factorise a symmetric matrix, lower and by columns; ``None`` where it is not definite."""
    factor, failed = (lapack.dpotrf if matrix.dtype == torch.float64 else lapack.spotrf)(matrix.numpy().T, lower=1)
    return None if failed else torch.from_numpy(factor)


def inverse_lower(factor: Tensor) -> Tensor:
    """Invert a lower triangular matrix: X with ``X' X`` the inverse of what it is the Cholesky factor of."""
    invert = lapack.dtrtri if factor.dtype == torch.float64 else lapack.strtri
    return torch.from_numpy(invert(factor.numpy(), lower=1)[0])
