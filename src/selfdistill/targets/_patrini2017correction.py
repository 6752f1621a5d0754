"""Loss correction by a noise matrix, known or estimated at anchors (Patrini et al. 2017, arXiv 1609.03683)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill.targets._given import Given
from selfdistill.targets._noise_matrix import normalised

__all__ = ["Corrected", "anchor_matrix", "conditioned", "growth"]

MOST_GROWTH = 100.0
"""An inverse that lets losses grow by more is refused: 89 % of symmetric noise in ten classes has 160."""

_FLOOR = 1e-7  # least entry of an estimated matrix: the authors' clamp on probabilities
_QUANTILE = 0.97
_RARE = 0.06  # twice the share above the quantile: a class as rare has its less certain half there, or none
_STEPS = 20


def anchor_matrix(probabilities: Tensor, labels: Tensor) -> Tensor:
    r"""Estimate the noise matrix from a network trained on the given labels: one example per class stands for it.

    .. math:: T_{c, j} = p_j(x_c), \qquad x_c = \text{the example where } p_c \text{ is at its 97th percentile}

    An example that surely is of class c shows that class's row. The percentile instead of the maximum leaves out
    outliers; the paper takes the maximum on CIFAR-100 alone. Here it is taken for each class that has 6 % of the given
    labels or fewer, since the examples at the percentile are then hardly or not at all of that class. Entries are kept
    at 1e-7 or more, so that no given label is impossible. A network that has memorised the labels is sure of all of
    them, and the estimate is then near the identity. Cost: K sorts of n numbers.

    Args:
        probabilities: Predictions of given labels, ``[n, K]``, rows sum to 1.
        labels: Given labels, int64 ``[n]``.

    Returns:
        ``T[clean, given]``, float64 ``[K, K]``, rows sum to 1.

    References:
        Patrini et al. (2017), arXiv 1609.03683, theorem 3 and the estimator that algorithm 1 takes
        from it; the percentile is from the experiments. Their code then takes the largest value below it, as here.

    Example:
        >>> p = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]])
        >>> anchor_matrix(p, torch.tensor([0, 0, 1])).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    n, k = probabilities.shape
    share = torch.bincount(labels, minlength=k) / n
    below = max(math.ceil(_QUANTILE * (n - 1)) - 1, 0)
    anchors = [int(probabilities[:, c].argsort(stable=True)[n - 1 if share[c] <= _RARE else below]) for c in range(k)]
    return normalised(probabilities[anchors].double().clamp(min=_FLOOR))


def growth(noise: Tensor) -> float:
    r"""Say how much larger than a loss its backward correction can get.

    .. math:: \max_y \sum_c |(T^{-1})_{y, c}|

    Since rows of T sum to 1, this is also T's condition number in the maximum norm; 1 only without noise.

    Args:
        noise: ``T[clean, given]``, ``[K, K]``, rows sum to 1.

    Returns:
        At least 1 up to rounding; infinite where T is singular.

    Example:
        >>> growth(torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
        2.0
    """
    inverse, failed = torch.linalg.inv_ex(noise.double())
    value = inverse.abs().sum(1).max().item()
    return float("inf") if bool(failed) or value != value else value


def conditioned(noise: Tensor, most: float = MOST_GROWTH) -> tuple[Tensor, float]:
    r"""Mix a noise matrix with the identity until it can be inverted: the paper's way out for an estimate.

    .. math:: (1 - a)\, T + a\, I

    Args:
        noise: ``T[clean, given]``, ``[K, K]``, rows sum to 1.
        most: Largest `growth`.

    Returns:
        The mixture, and a, the first of 0, 0.05, 0.1, ..., 1 that does.

    References:
        Patrini et al. (2017), arXiv 1609.03683, remark on theorem 1.

    Example:
        >>> conditioned(torch.full((2, 2), 0.5), most=4.0)
        (tensor([[0.6250, 0.3750],
                [0.3750, 0.6250]], dtype=torch.float64), 0.25)
    """
    identity = torch.eye(len(noise), dtype=torch.float64, device=noise.device)
    mixtures = (((1 - step / _STEPS) * noise.double() + step / _STEPS * identity, step) for step in range(_STEPS))
    return next(((mixed, step / _STEPS) for mixed, step in mixtures if growth(mixed) <= most), (identity, 1.0))


@final
class Corrected(nn.Module):
    """A row of numbers for each given label, the same for all examples that share it; see the two ways to make one.

    Memory: ``8 n K + 12 n`` bytes for the record of predictions, as `Given`, and ``4 K²`` for the rows.

    Args:
        labels: Given labels, int64 ``[n]``.
        rows: What `read` returns for each label, ``[K, K]``.
        identity_share: How much of the identity went into an estimated matrix to make it invertible.

    References:
        Patrini et al. (2017), arXiv 1609.03683.

    Example:
        >>> Corrected.forward_of(torch.tensor([1]), torch.tensor([[0.75, 0.25], [0.0, 1.0]])).read(torch.tensor([0]))
        tensor([[0.2500, 1.0000]])
    """

    rows: Tensor
    identity_share: Tensor

    def __init__(self, labels: Tensor, rows: Tensor, *, identity_share: float = 0.0) -> None:
        super().__init__()
        self.given = Given(labels, len(rows))
        self.register_buffer("rows", rows.float().contiguous())
        self.register_buffer("identity_share", torch.tensor(identity_share))

    @staticmethod
    def forward_of(labels: Tensor, noise: Tensor | None, probabilities: Tensor | None = None) -> Corrected:
        """Build the targets of `losses.forward_corrected`: for label y, the column ``T[:, y]``.

        Args:
            labels: Given labels, int64 ``[n]``.
            noise: ``T[clean, given]``, ``[K, K]``, rows sum to 1; ``None`` estimates it.
            probabilities: Predictions to estimate it from, ``[n, K]``.

        Returns:
            The targets.

        Raises:
            SettingError: A label that occurs, though the given matrix says it never does.
        """
        matrix = _estimated(labels, probabilities) if noise is None else noise
        there = torch.bincount(labels, minlength=len(matrix))
        impossible = (there > 0) & (matrix <= 0).all(0)
        if bool(impossible.any()):
            label = int(impossible.nonzero()[0])
            raise SettingError(
                f"column {label} of the noise matrix is all 0, but {int(there[label])} examples have that label",
                "Give the label some probability, at least in its own row.",
            )
        return Corrected(labels, matrix.T)

    @staticmethod
    def backward_of(labels: Tensor, noise: Tensor | None, probabilities: Tensor | None = None) -> Corrected:
        """Build the targets of `losses.backward_corrected`: for label y, the row ``inverse(T)[y]``.

        An estimated matrix that cannot be inverted well is mixed with the identity, see `conditioned`;
        ``identity_share`` says with how much.

        Args:
            labels: Given labels, int64 ``[n]``.
            noise: ``T[clean, given]``, ``[K, K]``, rows sum to 1; ``None`` estimates it.
            probabilities: Predictions to estimate it from, ``[n, K]``.

        Returns:
            The targets.

        Raises:
            SettingError: A given matrix that is singular or nearly so.
        """
        if noise is None:
            matrix, share = conditioned(_estimated(labels, probabilities))
        else:
            matrix, share, found = noise, 0.0, growth(noise)
            if found > MOST_GROWTH:
                raise SettingError(
                    f"the inverse of the noise matrix lets losses grow {found:.3g} times, but {MOST_GROWTH:g} is the "
                    "most: it is singular, or nearly so",
                    "Train with method 'forward', which needs no inverse, or mix the matrix with the identity.",
                )
        return Corrected(labels, torch.linalg.inv(matrix.double()), identity_share=share)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the rows of the given labels of ``index``, ``[b, K]``; ``logits`` are not looked at."""
        return self.rows[self.given.labels[index]]

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``; they are kept for `refined` only."""
        self.given.write(index, probabilities)

    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep this epoch's predictions, and return them; see `Targets.end_epoch`."""
        return self.given.end_epoch()

    def refined(self) -> Tensor:
        """Return the last epoch's predictions on the training set, ``[n, K]``."""
        return self.given.refined()


def _estimated(labels: Tensor, probabilities: Tensor | None) -> Tensor:
    if probabilities is None:
        raise SettingError("no noise matrix is given, and no predictions to estimate it from", "Pass one of them.")
    return anchor_matrix(probabilities, labels)
