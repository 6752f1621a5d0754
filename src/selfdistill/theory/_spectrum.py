"""Eigenvalues and eigenvectors of a kernel, all of them or the leading ones, with a bound on the error of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rows import check_finite, checked_rows

_SYMMETRY = 1e-4  # relative; float32 kernels of two sums in another order differ by about 1e-6
_NEGATIVE = 1e-4  # relative to the largest eigenvalue; rounding of float32 kernels leaves about 1e-6


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""Leading eigenpairs of a symmetric positive semidefinite kernel K, ``[n, n]``.

    Every pair comes with a bound on :math:`\|K v - \lambda v\|`. For a symmetric matrix, some eigenvalue lies within
    that distance of :math:`\lambda`: it is a bound on the error, not an estimate of it. It is of the matrix or operator
    given. Where that was itself computed, with rounding, the exact kernel's eigenvalue lies within
    ``residuals + rounding`` as far as the estimate ``rounding`` holds (Weyl's inequality).

    Attributes:
        values: Eigenvalues, float64 ``[k]``, largest first.
        vectors: Orthonormal eigenvectors as columns, float64 ``[n, k]``.
        residuals: Bound on :math:`\|K v - \lambda v\|_2` of each pair, float64 ``[k]``.
        trace: Sum of all n eigenvalues, that of K's diagonal.
        rounding: Estimate of the spectral norm of what rounding changed in K; 0 where K is taken as exact.

    Example:
        >>> found = Spectrum.of(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> found.values.round(decimals=4)
        tensor([3., 1.], dtype=torch.float64)
        >>> found.complete
        True
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    trace: float
    rounding: float = 0.0

    @property
    def size(self) -> int:
        """Rows of the kernel, n."""
        return len(self.vectors)

    @property
    def complete(self) -> bool:
        """Whether all n pairs are there."""
        return len(self.values) == self.size

    @classmethod
    def of(cls, kernel: Tensor | np.ndarray, k: int | None = None) -> Spectrum:
        """Decompose a kernel that is at hand as a matrix, in 64 bit.

        Args:
            kernel: Symmetric, positive semidefinite up to rounding, ``[n, n]``; an array or a tensor.
            k: How many leading pairs to keep; all if left out.

        Returns:
            The leading pairs. Cost: about ``9 n³`` FLOPs and ``24 n²`` bytes.

        Raises:
            DataError: Not square, not finite, not symmetric, or with eigenvalues clearly below 0.
            SettingError: ``k`` outside 1 to n.
        """
        gram = checked_gram(kernel)
        n = len(gram)
        if k is not None and not 1 <= k <= n:
            raise SettingError(f"k is {k}, but a kernel of {n} examples has 1 to {n} eigenpairs", "Ask for fewer.")
        values, vectors = torch.linalg.eigh(gram)
        if values[0] < -_NEGATIVE * values[-1].abs().clamp(min=torch.finfo(torch.float64).tiny):
            raise DataError(
                f"the kernel is not positive semidefinite: its eigenvalues go from {values[0]:.3g} to {values[-1]:.3g}",
                "Give a Gram matrix, and never one computed with bfloat16 outputs.",
            )
        values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k].contiguous()
        residuals = torch.linalg.vector_norm(gram @ vectors - vectors * values, dim=0)
        residuals += n * torch.finfo(torch.float64).eps * torch.linalg.matrix_norm(gram)  # rounding of the line above
        return cls(values, vectors, residuals, float(gram.trace()))

    def coefficients(self, z: Tensor) -> Tensor:
        """Project on the eigenvectors.

        Args:
            z: ``[n]`` or ``[n, c]``.

        Returns:
            float64 ``[k]`` or ``[k, c]``: ``vectorsᵀ z``.
        """
        return self.vectors.T @ checked_rows(z, self.size, "z").to(self.vectors)

    def unresolved(self, z: Tensor) -> Tensor:
        """Give the part of z that no eigenvector here holds.

        Args:
            z: ``[n]`` or ``[n, c]``.

        Returns:
            ``z`` less its projection, float64, of the same shape; 0 up to rounding where the spectrum is complete.
        """
        rows = checked_rows(z, self.size, "z").to(self.vectors)
        return rows - self.vectors @ (self.vectors.T @ rows)

    def leading(self, k: int) -> Spectrum:
        """Keep the first k pairs.

        Args:
            k: How many, 1 to ``len(values)``.

        Returns:
            They alone.

        Raises:
            SettingError: More than there are, or fewer than 1.
        """
        if not 1 <= k <= len(self.values):
            raise SettingError(f"k is {k}, but this spectrum has {len(self.values)} pairs", "Ask for fewer.")
        return Spectrum(self.values[:k], self.vectors[:, :k], self.residuals[:k], self.trace, self.rounding)


def checked_gram(kernel: Tensor | np.ndarray) -> Tensor:
    """Return a kernel as an exactly symmetric float64 matrix."""
    gram = torch.as_tensor(kernel).detach().to("cpu", torch.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not len(gram):
        raise DataError(f"the kernel has shape {tuple(gram.shape)}, but must be square, [n, n]", "Give a Gram matrix.")
    check_finite(gram, "the kernel has", "Check network and inputs.")
    gap, scale = float((gram - gram.T).abs().max()), float(gram.abs().max())
    if gap > _SYMMETRY * scale:
        raise DataError(
            f"the kernel is not symmetric: entries differ from their mirror by up to {gap:.3g} (largest {scale:.3g})",
            "Give the kernel of one set of inputs with itself; a kernel between two sets has no spectrum.",
        )
    return (gram + gram.T) / 2
