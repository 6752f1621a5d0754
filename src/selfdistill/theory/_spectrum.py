"""Eigenvalues and eigenvectors of a kernel, all of them or the leading ones, with a bound on the error of each."""

from __future__ import annotations

from collections.abc import Sequence
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
        """Whether it holds all n pairs."""
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


Amount = float | Sequence[float] | Tensor


def eigenvalues(spectrum: Spectrum) -> Tensor:
    """Return all n eigenvalues; those below ``n eps`` times the largest, negative ones too, count as 0."""
    if not spectrum.complete:
        raise SettingError(
            f"the spectrum has {len(spectrum.values)} of {spectrum.size} eigenpairs, but closed forms need all",
            "Use Spectrum.of(kernel) without k.",
        )
    values = spectrum.values
    floor = spectrum.size * torch.finfo(torch.float64).eps * values.abs().max()
    return torch.where(values > floor, values, 0.0)


def amounts(value: Amount, name: str, *, whole: bool = False, positive: bool = False) -> Tensor:
    """Return a scalar or a list of numbers as float64, having checked their range."""
    found = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if found.ndim > 1:
        raise SettingError(f"{name} has shape {tuple(found.shape)}, but must be one number or a list", "Flatten it.")
    low = found <= 0 if positive else found < 0
    bad = low | found.isnan() | ((found != found.round()) if whole else False)
    if bool(bad.any()):
        kind = ("a whole number, " if whole else "") + ("above 0" if positive else "0 or more")
        raise SettingError(f"{name} is {float(found[bad][0]):g}, but must be {kind}", f"Give another {name}.")
    return found


def target_rows(spectrum: Spectrum, z: Tensor, name: str = "targets") -> Tensor:
    """Return values per example as float64 ``[n]`` or ``[n, c]``, checked to be finite."""
    rows = checked_rows(z, spectrum.size, name).detach().to(spectrum.vectors)
    check_finite(rows, f"{name} has", "Leave such examples out.")
    return rows


def start_rows(spectrum: Spectrum, start: Tensor | None, like: Tensor) -> Tensor:
    """Return the outputs that training starts from, 0 if not given; of the targets' shape."""
    if start is None:
        return torch.zeros_like(like)
    rows = target_rows(spectrum, start, "start")
    if rows.shape != like.shape:
        raise DataError(
            f"start has shape {tuple(rows.shape)}, but the targets have {tuple(like.shape)}",
            "Give the outputs before training, one for each target.",
        )
    return rows


def filtered(spectrum: Spectrum, share: Tensor, targets: Tensor, start: Tensor | None = None) -> Tensor:
    """Go a share of the way from the start to the targets, in each eigendirection its own share."""
    goal = target_rows(spectrum, targets)
    begin = start_rows(spectrum, start, goal)
    way = spectrum.vectors.T @ (goal - begin).reshape(spectrum.size, -1)
    moved = spectrum.vectors @ (share.to(way)[..., None] * way)
    return begin + moved.reshape(*share.shape[:-1], *goal.shape)


def damping(values: Tensor, time: Tensor) -> Tensor:
    """Return ``lambda t`` for all pairs, 0 where lambda is 0 however long the time."""
    product = time.to(values)[..., None] * values
    return torch.where(values > 0, product, torch.zeros_like(product))


def shrinkage(values: Tensor, time: Amount | None, penalty: Amount | None) -> Tensor:
    """Return the filter of one training: gradient flow for a time, or ridge regression with a penalty."""
    if (time is None) == (penalty is None):
        raise SettingError(
            f"time is {time} and penalty is {penalty}, but exactly one must be given", "Give one of them."
        )
    if time is not None:
        return -torch.expm1(-damping(values, amounts(time, "time")))
    return values / (values + amounts(penalty, "penalty", positive=True).to(values)[..., None])  # type: ignore[arg-type]


def steady_lr(values: Tensor, lr: float) -> float:
    """Check that gradient descent with this step does not grow without bound."""
    largest = float(values[0])
    if not lr > 0 or lr * largest > 2 + 1e-9:
        limit = f"above 0 and at most 2 / largest eigenvalue = {2 / largest:.6g}" if largest > 0 else "above 0"
        raise SettingError(f"lr is {lr:g}, but must be {limit}", "Take 1 / largest eigenvalue.")
    return float(lr)
