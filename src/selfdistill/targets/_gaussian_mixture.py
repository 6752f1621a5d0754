"""A mixture of two Gaussians on the line, by expectation-maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["TwoGaussians", "two_gaussians"]


class TwoGaussians(NamedTuple):
    """A mixture of two Gaussians on the line, the one with the lower mean first.

    Attributes:
        weights: Shares of both, float64 ``[2]``.
        means: float64 ``[2]``.
        variances: float64 ``[2]``.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_joint(self, values: Tensor) -> Tensor:
        """Give the log density of each value together with each component.

        Args:
            values: float64 ``[n]``.

        Returns:
            ``[n, 2]``.
        """
        away = (values[:, None] - self.means).square() / self.variances
        return self.weights.log() - 0.5 * (away + self.variances.log() + math.log(2 * math.pi))

    def lower(self, values: Tensor) -> Tensor:
        """Give the probability that a value comes from the component with the lower mean.

        Args:
            values: float64 ``[n]``.

        Returns:
            ``[n]``, in [0, 1].
        """
        return self.log_joint(values).softmax(-1)[:, 0]


def two_gaussians(values: Tensor, *, steps: int = 10, tolerance: float = 1e-2, floor: float = 5e-4) -> TwoGaussians:
    r"""Fit a mixture of two Gaussians to numbers.

    Starts from the two clusters that Lloyd's algorithm finds from the least and the greatest value, and alternates

    .. math:: r_{ij} \propto w_j\, N(x_i;\, \mu_j, \sigma_j^2), \qquad w_j = \tfrac1n \sum_i r_{ij}, \quad
        \mu_j = \frac{\sum_i r_{ij} x_i}{\sum_i r_{ij}}, \quad
        \sigma_j^2 = \frac{\sum_i r_{ij} (x_i - \mu_j)^2}{\sum_i r_{ij}} + \varepsilon

    until the mean log-likelihood changes by less than ``tolerance``. Steps, tolerance and floor are those of the code
    of DivideMix. No randomness; cost: ``O(n steps)``.

    Args:
        values: Numbers x, ``[n]``, not all equal; computed in float64, on the CPU.
        steps: Steps at most.
        tolerance: See above.
        floor: ε, added to the variances.

    Returns:
        The mixture.

    References:
        Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39; Li et al. (2020), arXiv 2002.07394, section 3.1.

    Example:
        >>> found = two_gaussians(torch.tensor([0.0, 0.1, 0.9, 1.0]))
        >>> found.means.round(decimals=2).tolist()
        [0.05, 0.95]
    """
    values = values.double().cpu()
    high = _clusters(values).double()
    shares = torch.stack([1 - high, high], 1)
    likelihood = -math.inf
    mixture = _maximise(values, shares, floor)
    for _ in range(steps):
        joint = mixture.log_joint(values)
        before, likelihood = likelihood, joint.logsumexp(1).mean().item()
        mixture = _maximise(values, joint.softmax(1), floor)
        if abs(likelihood - before) < tolerance:
            break
    order = mixture.means.argsort()
    return TwoGaussians(*(part[order] for part in mixture))


def _clusters(values: Tensor) -> Tensor:
    """Say which values belong to the upper of two clusters, bool ``[n]``; neither is empty if the values differ."""
    high = values > (values.min() + values.max()) / 2
    for _ in range(100):
        moved = values > (values[~high].mean() + values[high].mean()) / 2
        if torch.equal(moved, high):
            break
        high = moved
    return high


def _maximise(values: Tensor, shares: Tensor, floor: float) -> TwoGaussians:
    size = shares.sum(0) + 10 * torch.finfo(shares.dtype).eps  # an empty component divides by no zero
    means = (shares * values[:, None]).sum(0) / size
    variances = (shares * (values[:, None] - means).square()).sum(0) / size + floor
    return TwoGaussians(size / size.sum(), means, variances)
