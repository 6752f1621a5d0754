"""Kernel ridge regression judged by what each example would be predicted without it: exact, from one spectrum."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.rows import left_out
from selfdistill.theory._spectrum import Spectrum, start_rows, target_rows

Criterion = Literal["gcv", "loo"]  # what chooses a penalty, see `best_penalty`
_LARGEST, _MOST = 1024.0, 52  # penalties tried: from so many times the largest eigenvalue down to 5e-13 of it


def dual_weights(spectrum: Spectrum, targets: Tensor, penalty: float, start: Tensor | None = None) -> Tensor:
    """Weights of the examples in kernel ridge regression: (K + cI)^-1 (y - f0), of the shape of y; 4 N² c FLOPs."""
    goal = target_rows(spectrum, targets)
    change = (goal - start_rows(spectrum, start, goal)).reshape(spectrum.size, -1)
    inverse = 1 / _shifted(spectrum, penalty)
    return (spectrum.vectors @ (inverse[:, None] * (spectrum.vectors.T @ change))).reshape(goal.shape)


def leave_one_out(
    spectrum: Spectrum, targets: Tensor, penalty: float, start: Tensor | None = None, *, each: int = 1
) -> Tensor:
    r"""Predict each example by kernel ridge regression on all others, exactly and without a refit.

    With :math:`a = (K + cI)^{-1}(y - f_0)` and :math:`G = (K + cI)^{-1}`, of whose diagonal :math:`G_{ii}` is the entry
    or block of example i,

    .. math:: f_i^{(-i)} = y_i - G_{ii}^{-1} a_i .

    Args:
        spectrum: Of K, complete.
        targets: y, ``[N]`` or ``[N, c]``; columns have the same kernel.
        penalty: c, 0 or more, in units of K's eigenvalues. Where K is singular up to rounding, c must be above it.
        start: f₀, what is predicted before training, of the shape of y; 0 if left out.
        each: Rows of K for each example, one after the other, which are left out together: C for a kernel ``full``.

    Returns:
        float64, of the shape of y. Cost: ``4 N² c`` FLOPs, and ``2 N²`` times ``each`` for G's blocks.

    Raises:
        SettingError: A penalty that is negative, or at which K + cI is singular; ``each`` that does not divide N.
        DataError: Targets that do not fit.

    References:
        An, Liu & Venkatesh (2007), "Fast cross-validation algorithms for least squares support vector machine and
        kernel ridge regression", Pattern Recognition 40.

    Example:
        >>> kernel = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
        >>> leave_one_out(Spectrum.of(kernel), torch.tensor([3.0, 6.0, 1.0]), penalty=1.0)
        tensor([2., 1., 0.], dtype=torch.float64)
    """  # noqa: DOC502 (raised by what is called)
    weights = dual_weights(spectrum, targets, penalty, start)
    blocks = _blocks(spectrum, _shifted(spectrum, penalty), each)
    goal = target_rows(spectrum, targets)
    shape = (len(blocks), each, -1) if each > 1 else (len(blocks), -1)
    return left_out(goal.reshape(shape), weights.reshape(shape), blocks).reshape(goal.shape)


def best_penalty(
    spectrum: Spectrum, targets: Tensor, start: Tensor | None = None, *, by: Criterion = "gcv", each: int = 1
) -> float:
    """Choose the penalty of kernel ridge regression from the training examples alone."""
    # "loo" takes the least mean square of what `leave_one_out` leaves of the targets, "gcv" the least N |(I - H)(y -
    # f0)|² / tr(I - H)² with H = K (K + cI)^-1: it puts the mean of 1 - H_ii for each, does not change when examples
    # are rotated into each other, and costs next to nothing. Tried are 1,024 times the largest eigenvalue divided by
    # powers of 2, down to where K + cI is singular up to rounding. Golub, Heath & Wahba (1979), Technometrics 21.
    checked_ridge(by)
    goal = target_rows(spectrum, targets)
    change = goal - start_rows(spectrum, start, goal)
    squares = (spectrum.vectors.T @ change.reshape(spectrum.size, -1)).square().sum(1)
    largest = float(spectrum.values[0])
    errors: dict[float, float] = {}
    for c in (_LARGEST * largest * 0.5**k for k in range(_MOST)):
        if not float(spectrum.values[-1]) + c >= _floor(spectrum) > 0:
            break
        shifted = _shifted(spectrum, c)
        if by == "gcv":
            errors[c] = float((squares / shifted**2).sum() / (1 / shifted).sum() ** 2)
        else:
            errors[c] = float((leave_one_out(spectrum, change, c, each=each) - change).square().mean())
    if not errors:
        raise SettingError("the kernel is 0 up to rounding, so no ridge can be chosen", "Check the network.")
    return min(errors, key=lambda c: errors[c])


def checked_ridge(ridge: Criterion | float) -> Criterion | float:
    """Refuse an unknown criterion, or a penalty that is negative or not finite, before work starts."""
    if isinstance(ridge, str) and ridge not in get_args(Criterion):
        raise SettingError(f"ridge is {ridge!r}", f"Choose one of {', '.join(get_args(Criterion))}, or give a number.")
    if not isinstance(ridge, str) and not 0 <= ridge < float("inf"):
        raise SettingError(f"ridge is {ridge:g}, but must be 0 or more, and finite", "Give another number.")
    return ridge


def _floor(spectrum: Spectrum) -> float:
    """Give the size of eigenvalues that may be rounding: of the kernel, and of its decomposition."""
    own = spectrum.size * torch.finfo(torch.float64).eps * float(spectrum.values.abs().max())
    return max(spectrum.rounding, own)


def _shifted(spectrum: Spectrum, penalty: float) -> Tensor:
    """Give the eigenvalues of K + cI, checked to be above what may be rounding."""
    if not spectrum.complete:
        raise SettingError(
            f"the spectrum has {len(spectrum.values)} of {spectrum.size} eigenpairs, but regression needs all",
            "Use Spectrum.of(kernel) without k.",
        )
    checked_ridge(penalty)
    least, floor = float(spectrum.values[-1]), _floor(spectrum)
    if not least + penalty >= floor:
        raise SettingError(
            f"ridge is {penalty:g}, but the kernel has eigenvalues down to {least:.3g}, and below {floor:.3g} they may "
            "be rounding",
            f"Give at least {floor - least:.3g}, or compute the kernel in 64 bit: model.double().",
        )
    return spectrum.values + penalty


def _blocks(spectrum: Spectrum, shifted: Tensor, each: int) -> Tensor:
    """Compute the blocks of (K + cI)^-1 on its diagonal: ``[n, each, each]``, or ``[N, 1]`` for single rows."""
    if each == 1:
        return spectrum.vectors.square() @ (1 / shifted)[:, None]
    if each < 1 or spectrum.size % each:
        raise SettingError(
            f"each is {each}, but the kernel's {spectrum.size} rows are not a multiple of it",
            "Give its rows per example.",
        )
    rows = spectrum.vectors.reshape(-1, each, spectrum.size) / shifted.sqrt()
    return rows @ rows.mT
