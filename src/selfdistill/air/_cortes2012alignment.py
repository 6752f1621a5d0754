"""Alignment of a kernel with labels and with another kernel, from eigenpairs, with bounds for missing ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.air._interval import Interval
from selfdistill.theory import Spectrum

__all__ = ["kernel_alignment", "subspace_overlap", "target_alignment"]


@dataclass(frozen=True, eq=False)
class _Split:
    """A kernel as what its pairs hold, A Aᵀ, and a rest R whose largest eigenvalue and trace are bounded.

    Attributes:
        factor: A, ``[n, k]``, centred if asked.
        vectors: The eigenvectors, ``[n, k]``.
        top: Bound on the largest eigenvalue of R.
        trace: Trace of R, before centring.
        missing: Number of missing pairs.
    """

    factor: Tensor
    vectors: Tensor
    top: float
    trace: float
    missing: int

    @classmethod
    def of(cls, spectrum: Spectrum, centre: bool) -> _Split:
        values = spectrum.values.clamp(min=0)
        factor = spectrum.vectors * values.sqrt()
        missing = spectrum.size - len(values)
        rest = max(spectrum.trace - float(values.sum()), 0.0) if missing else 0.0
        centred = factor - factor.mean(0) if centre else factor
        return cls(centred, spectrum.vectors, float(values[-1]) if missing else 0.0, rest, missing)

    def outside(self, z: Tensor) -> Tensor:
        """Squared norm of what of the columns of z no pair here holds; nothing if all pairs are there."""
        if not self.missing:
            return torch.zeros((), dtype=torch.float64)
        return (z - self.vectors @ (self.vectors.T @ z)).square().sum()

    def square(self) -> Interval:
        """Squared Frobenius norm of the kernel."""
        low = (self.factor.T @ self.factor).square().sum()
        cross = 2 * self.top * self.outside(self.factor)
        return Interval(low, low + cross + self.top * self.trace)

    def inner(self, other: _Split) -> Interval:
        """Frobenius inner product with another kernel."""
        low = (self.factor.T @ other.factor).square().sum()
        cross = other.top * other.outside(self.factor) + self.top * self.outside(other.factor)
        both = min(self.top * other.trace, other.top * self.trace)
        return Interval(low, low + cross + both)


def target_alignment(spectrum: Spectrum, z: Tensor, *, centre: bool = True) -> Interval:
    r"""Kernel-target alignment: the cosine of the kernel and the ideal one of the labels.

    .. math:: A(K, Z) = \frac{\langle K, Z Z^\top \rangle_F}{\|K\|_F \, \|Z Z^\top\|_F}

    with K and Z centred first, H K H and H Z, unless told otherwise.

    Args:
        spectrum: Eigenpairs of K.
        z: Label matrix, ``[n]`` or ``[n, C]``.
        centre: Centre both. Without it a kernel that is nearly constant seems aligned with any labels.

    Returns:
        A scalar from 0 to 1, with bounds.

    Raises:
        DataError: The kernel or the labels are constant.

    References:
        Cortes, Mohri & Rostamizadeh (2012), Algorithms for learning kernels based on centered alignment, JMLR 13,
        arXiv:1203.0550, definition 4. Cristianini et al. (2001) for the form that is not centred.

    Example:
        >>> y = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> round(float(target_alignment(Spectrum.of(torch.outer(y, y)), y).low), 6)
        1.0
    """  # noqa: DOC502 (raised by what is called)
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    z = z - z.mean(0) if centre else z
    split = _Split.of(spectrum, centre)
    low = spectrum.coefficients(z).square().sum(1) @ spectrum.values.clamp(min=0)
    high = low + split.top * split.outside(z)
    return _cosine(Interval(low, high), split.square(), Interval.exact((z.T @ z).square().sum()))


def kernel_alignment(first: Spectrum, second: Spectrum, *, centre: bool = True) -> Interval:
    r"""Cosine of two kernels of the same examples, centred unless told otherwise (linear CKA of their features).

    Args:
        first: Eigenpairs of one.
        second: Eigenpairs of the other.
        centre: Centre both.

    Returns:
        A scalar from 0 to 1, with bounds. The drift between them is 1 less this.

    Raises:
        DataError: Kernels of different sizes, or a constant one.

    References:
        Cortes et al. (2012), arXiv:1203.0550; Kornblith et al. (2019), arXiv:1905.00414 (CKA).

    Example:
        >>> one = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
        >>> round(float(kernel_alignment(one, one).low), 6)
        1.0
    """  # noqa: DOC502 (raised by what is called)
    _same_size(first, second)
    one, two = _Split.of(first, centre), _Split.of(second, centre)
    return _cosine(one.inner(two), one.square(), two.square())


def subspace_overlap(first: Spectrum, second: Spectrum, k: int) -> float:
    r"""Overlap of the leading eigenspaces, :math:`\|V_k^\top W_k\|_F^2 / k`.

    Args:
        first: Eigenpairs of one kernel, at least k.
        second: Eigenpairs of the other, at least k.
        k: Dimension of the spaces.

    Returns:
        From 0 (orthogonal) to 1 (the same); k/n for spaces that know nothing of each other.

    Raises:
        DataError: Kernels of different sizes.
        SettingError: Fewer than k pairs.

    Example:
        >>> one = Spectrum.of(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
        >>> subspace_overlap(one, Spectrum.of(torch.diag(torch.tensor([3.0, 1.0, 2.0]))), 2)
        0.5
    """  # noqa: DOC502 (raised by what is called)
    _same_size(first, second)
    return float((first.leading(k).vectors.T @ second.leading(k).vectors).square().sum() / k)


def _same_size(first: Spectrum, second: Spectrum) -> None:
    if first.size != second.size:
        raise DataError(
            f"kernels of {first.size} and {second.size} examples cannot be compared", "Use the same examples for both."
        )


def _cosine(product: Interval, one: Interval, two: Interval) -> Interval:
    if min(float(one.high), float(two.high)) <= 1e-300:
        raise DataError("a kernel or label matrix is constant: after centring nothing is left", "Check the inputs.")
    low = product.low / (one.high * two.high).sqrt()
    high = product.high / (one.low * two.low).sqrt().clamp(min=1e-300)
    return Interval(low.clamp(0, 1), high.clamp(0, 1))
