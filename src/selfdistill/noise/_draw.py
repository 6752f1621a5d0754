"""One seeded draw of noisy labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.rng import torch_generator
from selfdistill.noise._summary import check_labels, summary
from selfdistill.noise._transition import class_dependent

__all__ = ["Noise", "draw", "realise"]


class Noise(NamedTuple):
    """Labels after noise.

    Attributes:
        labels: Given labels, int64 ``[n]``.
        changed: Where they differ from the clean ones, bool ``[n]``.
        matrix: Transition matrix they were drawn from, float64 ``[K, K]``, ``[clean, given]``; for instance-dependent
            noise its mean over the examples of each clean class.
        realised_rate: Share of labels that differ.
        realised_matrix: Share of each given label per clean class, float64 ``[K, K]``; a row of zeros for a class
            without examples.
    """

    labels: Tensor
    changed: Tensor
    matrix: Tensor
    realised_rate: float
    realised_matrix: Tensor


def realise(clean: Tensor, given: Tensor, matrix: Tensor) -> Noise:
    """Bundle given labels with what became of the clean ones.

    Args:
        clean: True labels, int64 ``[n]``.
        given: Given labels, int64 ``[n]``.
        matrix: Transition matrix they were drawn from, ``[K, K]``.

    Returns:
        Labels and measurements.

    Example:
        >>> realise(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.eye(2)).realised_rate
        0.5
    """
    measured = summary(clean, given, len(matrix))
    return Noise(given, given != clean, matrix, measured.rate, measured.matrix)


def draw(labels: Tensor, T: Tensor, seed: int) -> Noise:
    r"""Draw given labels, independently per example: :math:`P(\tilde y_i = g) = T[y_i, g]`.

    The draw inverts the distribution function of row :math:`y_i` at one uniform number per example, so it depends on
    the seed, the labels and their order, and nothing else. The realised rate spreads around the expected one with
    standard deviation :math:`\sqrt{r(1-r)/n}`.

    Args:
        labels: True labels, int64 ``[n]``.
        T: Transition matrix ``T[clean, given]``, rows sum to 1; see `symmetric`, `pair`, `class_dependent`.
        seed: Seed of the draw.

    Returns:
        Given labels with realised rate and matrix.

    Raises:
        DataError: A label is out of range.
        SettingError: ``T`` is not a transition matrix.

    Example:
        >>> from selfdistill.noise import pair
        >>> noise = draw(torch.zeros(1000, dtype=torch.int64), pair(3, 0.4), seed=0)
        >>> noise.labels.unique().tolist(), abs(noise.realised_rate - 0.4) < 0.05
        ([0, 1], True)
    """  # noqa: DOC502 (raised by the checks it calls)
    T = class_dependent(T)
    check_labels(labels, len(T))
    labels = labels.long().cpu()
    uniform = torch.rand(len(labels), generator=torch_generator(seed, "noise"), dtype=torch.float64)
    given = torch.empty_like(labels)
    for clean in torch.bincount(labels).nonzero().squeeze(1).tolist():
        members = (labels == clean).nonzero().squeeze(1)
        given[members] = invert(T[clean], uniform[members])
    return realise(labels, given, T)


def invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Invert a distribution function: the first class whose cumulated probability exceeds a uniform number.

    A class of probability 0 is never returned, whatever the rounding of the sums: in float64, a number below 1 times
    the last sum stays below that sum.

    Args:
        probabilities: ``[K]`` for all, or one row per number ``[b, K]``.
        uniform: Numbers in [0, 1), float64 ``[b]``.

    Returns:
        Classes, int64 ``[b]``.

    Example:
        >>> invert(torch.tensor([0.25, 0.0, 0.75, 0.0]), torch.tensor([0.0, 0.25, 0.999])).tolist()
        [0, 2, 2]
    """
    cumulated = probabilities.cumsum(-1)
    values = (uniform * cumulated[..., -1]).unsqueeze(-1)
    if probabilities.ndim == 1:
        values = values.squeeze(-1)
    return torch.searchsorted(cumulated, values, right=True).view(-1)
