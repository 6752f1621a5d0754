"""Transition matrices: how likely each clean class is to be given each label.

Everywhere ``T[clean, given]``, float64, rows sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.labels import symmetric_matrix

_AIRPLANE, _AUTOMOBILE, _BIRD, _CAT, _DEER, _DOG, _HORSE, _TRUCK = 0, 1, 2, 3, 4, 5, 7, 9
_CONFUSED = {_TRUCK: _AUTOMOBILE, _BIRD: _AIRPLANE, _CAT: _DOG, _DOG: _CAT, _DEER: _HORSE}


def check_rate(rate: float) -> None:
    """Refuse a noise rate that is no probability."""
    if not (math.isfinite(rate) and 0 <= rate <= 1):
        raise SettingError(
            f"noise rate {rate:g} is not in [0, 1]", "Give a probability, such as 0.4 for 40 % of the labels."
        )


def _check_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise SettingError(
            f"labels of {num_classes} class(es) cannot be exchanged: noise needs at least 2 classes",
            "Give data with at least 2 classes.",
        )


def symmetric(num_classes: int, rate: float, *, include_clean: bool) -> Tensor:
    r"""Uniform noise: a label is replaced with probability ``rate`` by a class drawn uniformly.

    Two protocols share the name, so there is no default. With ``include_clean`` the draw is over all K classes, the
    true one included: :math:`T_{cc} = 1 - r + r/K` and :math:`T_{cg} = r/K`, so a share :math:`r(K-1)/K` of the
    labels is wrong (36 % of 10 classes at ``rate=0.4``; ELR, DivideMix). Without it the draw is over the others:
    :math:`T_{cc} = 1 - r` and :math:`T_{cg} = r/(K-1)`, so a share r is wrong (Co-teaching).

    Args:
        num_classes: Number of classes K; at least 2.
        rate: Probability r that a label is redrawn.
        include_clean: Whether the redraw may return the true class.

    Returns:
        ``T[clean, given]``, float64 ``[K, K]``.

    Raises:
        SettingError: ``rate`` is not in [0, 1], or there is a single class.

    Example:
        >>> symmetric(10, 0.4, include_clean=True)[0, 0].item(), symmetric(10, 0.4, include_clean=False)[0, 0].item()
        (0.64, 0.6)

    References:
        J. Li, R. Socher, S. Hoi, DivideMix, ICLR 2020, arXiv:2002.07394 (true class included).
        B. Han et al., Co-teaching, NeurIPS 2018, arXiv:1804.06872 (true class excluded).
    """  # noqa: DOC502 (raised by the checks it calls)
    check_rate(rate)
    _check_classes(num_classes)
    return symmetric_matrix(num_classes, rate, include_clean=include_clean)


def pair(num_classes: int, rate: float) -> Tensor:
    r"""Pair noise: a label becomes the next class with probability ``rate``; the last class becomes the first.

    :math:`T_{cc} = 1 - r`, :math:`T_{c,(c+1) \bmod K} = r`. From a rate of one half the wrong label is the majority.

    Args:
        num_classes: Number of classes K; at least 2.
        rate: Probability r that a label changes.

    Returns:
        ``T[clean, given]``, float64 ``[K, K]``.

    Raises:
        SettingError: ``rate`` is not in [0, 1], or there is a single class.

    Example:
        >>> pair(3, 0.25)[2].tolist()
        [0.25, 0.0, 0.75]

    References:
        B. Han et al., Co-teaching, NeurIPS 2018, arXiv:1804.06872, figure 2 (a).
    """  # noqa: DOC502 (raised by the checks it calls)
    check_rate(rate)
    _check_classes(num_classes)
    eye = torch.eye(num_classes, dtype=torch.float64)
    return (1 - rate) * eye + rate * eye.roll(1, dims=1)


def cifar10_asymmetric(rate: float) -> Tensor:
    """Truck to automobile, bird to airplane, deer to horse, and cat and dog exchanged; the other five stay clean."""
    # Over balanced classes half of `rate` of the labels is wrong. Patrini et al., CVPR 2017, arXiv 1609.03683.
    check_rate(rate)
    matrix = torch.eye(10, dtype=torch.float64)
    for clean, given in _CONFUSED.items():
        matrix[clean, clean], matrix[clean, given] = 1 - rate, rate
    return matrix


def class_dependent(matrix: Tensor | np.ndarray | Sequence[Sequence[float]]) -> Tensor:
    """Check a transition matrix of your own.

    Args:
        matrix: ``T[clean, given]``, at least 2 by 2, no negative entry; each row sums to 1 up to 1e-6.

    Returns:
        A copy, float64 ``[K, K]``, each row divided by its sum where that differs from 1 by more than rounding.

    Raises:
        SettingError: It is not a square matrix of probabilities whose rows sum to 1.

    Example:
        >>> class_dependent([[0.75, 0.25], [0.0, 1.0]])[0].tolist()
        [0.75, 0.25]
    """
    try:
        numbers = matrix.detach().cpu().numpy() if isinstance(matrix, Tensor) else matrix
        checked = torch.as_tensor(np.array(numbers, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise SettingError(
            f"the transition matrix is not a table of numbers: {error}", "Give K rows of K numbers."
        ) from None
    if checked.ndim != 2 or checked.shape[0] != checked.shape[1]:
        raise SettingError(
            f"a transition matrix of shape {tuple(checked.shape)} is not square",
            "Give K rows of K numbers for K classes.",
        )
    _check_classes(len(checked))
    wrong = ~(checked.isfinite() & (checked >= 0))
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise SettingError(
            f"entry [{row}, {column}] of the transition matrix is {checked[row, column]:g}, not a probability",
            "Give finite numbers of at least 0.",
        )
    sums = checked.sum(1)
    row = int((sums - 1).abs().argmax())
    if abs(sums[row] - 1) > 1e-6:
        columns_do = bool(((checked.sum(0) - 1).abs() <= 1e-6).all())
        raise SettingError(
            f"row {row} of the transition matrix sums to {sums[row]:g}, not to 1",
            "Its columns sum to 1: transpose it, rows are clean classes."
            if columns_do
            else "Rows are clean classes, columns given labels; divide each row by its sum.",
        )
    exact = (sums - 1).abs() <= 1e-12  # leaves a checked matrix as it is, bit for bit
    return checked / torch.where(exact, 1.0, sums)[:, None]
