"""How many labels are still wrong, and how many of the flagged ones are, with what was settled so far taken in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, expit, log_expit, logit

__all__ = ["Interval", "Remaining", "precision"]

_OFFSETS = np.linspace(-3.0, 3.0, 61)  # of log-odds
_SLOPES = np.exp(np.linspace(-1.2, 1.2, 25))
_OFFSET_SPREAD, _SLOPE_SPREAD = 0.8, 0.3  # of a priori: counts are often off by a factor of 1.5
_BINS = 200
_LIMIT = 1e-4  # probabilities nearer to 0 or 1 are not believed
_DRAWS = 4000
_FEW = 20  # errors; of so few the number is no normal variable
_TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A number, and 95 % of what it may be."""

    value: float
    low: float
    high: float


def precision(wrong: int, total: int) -> Interval:
    """Estimate a share from a count: Beta posterior with Jeffreys' prior.

    Args:
        wrong: Hits.
        total: Cases.

    Returns:
        Posterior mean and the central 95 %.

    Example:
        >>> found = precision(49, 57)
        >>> round(found.low, 2), round(found.value, 2), round(found.high, 2)
        (0.75, 0.85, 0.93)
    """
    a, b = wrong + 0.5, total - wrong + 0.5
    low, high = betaincinv(a, b, np.array(_TAILS) / 100)
    return Interval(a / (a + b), float(low), float(high))


class Remaining:
    r"""Calibrates the probabilities that labels are wrong by those that were settled, and counts the others.

    The settled ones were the most doubtful, so their share of wrong labels says little of the others by itself. What
    they tell is how far the probabilities can be believed: :math:`\mathrm{logit}\,p' = a + b\,\mathrm{logit}\,p`, with
    the posterior of a and b on a grid, a priori near 0 and 1.

    Args:
        p: Probability that each label is wrong, in which its own decision has no part, ``[n]``.
        settled: Which are settled, bool ``[n]``.
        wrong: Which of these were wrong, bool ``[n]``.

    References:
        Platt (1999), "Probabilistic outputs for support vector machines" (the two parameters, there by maximum
        likelihood).
    """

    def __init__(self, p: np.ndarray, settled: np.ndarray, wrong: np.ndarray) -> None:
        self._logits = logit(np.clip(p.astype(np.float64), _LIMIT, 1 - _LIMIT))
        a, b = (one.ravel() for one in np.meshgrid(_OFFSETS, _SLOPES, indexing="ij"))
        self._a, self._b = a, b
        posterior = -0.5 * ((a / _OFFSET_SPREAD) ** 2 + (np.log(b) / _SLOPE_SPREAD) ** 2)
        for hit, sign in ((settled & wrong, 1), (settled & ~wrong, -1)):
            centres, counts = self._histogram(hit)
            posterior += log_expit(sign * (a[:, None] + b[:, None] * centres)) @ counts
        weights = np.exp(posterior - posterior.max())
        self._weights = weights / weights.sum()

    def _histogram(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts, edges = np.histogram(self._logits[rows], bins=_BINS, range=(logit(_LIMIT), logit(1 - _LIMIT)))
        there = counts > 0
        return (edges[:-1] + edges[1:])[there] / 2, counts[there].astype(np.float64)

    def count(self, rows: np.ndarray) -> Interval:
        """Count the wrong labels among some that are not settled.

        Args:
            rows: Which, bool ``[n]``.

        Returns:
            Expectation, and the central 95 % of the number.
        """
        centres, counts = self._histogram(rows)
        if not len(counts):
            return Interval(0.0, 0.0, 0.0)
        p = expit(self._a[:, None] + self._b[:, None] * centres)
        mean, variance = p @ counts, (p * (1 - p)) @ counts
        rng = np.random.default_rng(0)
        at = rng.choice(len(mean), _DRAWS, p=self._weights)
        draws = mean[at] + variance[at] ** 0.5 * rng.normal(size=_DRAWS)
        draws = np.clip(np.where(mean[at] < _FEW, rng.poisson(np.minimum(mean[at], _FEW)), draws), 0, counts.sum())
        low, high = np.percentile(draws, _TAILS)
        return Interval(float(self._weights @ mean), float(low), float(high))
