"""How many labels are still wrong, given the decisions so far."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from selfdistill.issues._reliability import Interval

_SHIFT = 0.5  # of log-odds a priori: more labels are wrong than the probabilities say
_OFFSET, _SLOPE = 0.5, 0.15  # deviations a priori of a shift of all log-odds, and of their slope
_PIVOT = 3.0  # log-odds about which the slope turns: what is wrong there says nothing of it
_BEND, _REACH = 1.0, 1.5  # deviation a priori of a smooth function of them, and the log-odds over which it bends
_BINS = 60
_LIMIT = 1e-4  # probabilities nearer to 0 or 1 are not believed
_DRAWS = 2000
_FEW = 20  # errors; of so few the number is no normal variable
_TAILS = (2.5, 97.5)


class Remaining:
    """Calibrates the probabilities that labels are wrong by those that were decided, and counts the others."""

    # The decided ones were the most doubtful, so their share of wrong labels says little of the others by itself. What
    # they tell is how far the probabilities can be believed: logit p' = l + f(l) with l = logit p and f a Gaussian
    # process, a shift with a slope and a smooth function. Decisions narrow f where they were made, and little where p
    # is far from theirs. Posterior by Laplace's approximation (Rasmussen and Williams 2006, algorithm 3.1; Wenger,
    # Kjellstrom and Triebel 2020, arXiv 1906.04933). How wide f is a priori: docs/decisions/0040-how-much-is-left.md.

    def __init__(self, p: np.ndarray, decided: np.ndarray, wrong: np.ndarray) -> None:
        self._logits = logit(np.clip(p.astype(np.float64), _LIMIT, 1 - _LIMIT))
        edges = np.linspace(logit(_LIMIT), logit(1 - _LIMIT), _BINS + 1)
        self._edges, self._centres = edges, (edges[:-1] + edges[1:]) / 2
        away = self._centres[:, None] - self._centres
        below = self._centres - _PIVOT
        prior = _OFFSET**2 + _SLOPE**2 * np.outer(below, below)
        prior += _BEND**2 * np.exp(-0.5 * (away / _REACH) ** 2)
        mode, covariance = self._posterior(prior, self._histogram(decided), self._histogram(decided & wrong))
        root = np.linalg.cholesky(covariance + 1e-8 * np.eye(_BINS))
        rng = np.random.default_rng(0)
        self._draws = expit(self._centres + mode + rng.normal(size=(_DRAWS, _BINS)) @ root.T)

    def _posterior(self, prior: np.ndarray, total: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mode of f, and its covariance there."""
        f = np.full(_BINS, _SHIFT)
        for _ in range(50):
            p = expit(self._centres + f)
            weight = total * p * (1 - p)
            root = weight**0.5
            gain = root[:, None] * np.linalg.solve(np.eye(_BINS) + root[:, None] * prior * root, np.diag(root))
            pull = weight * (f - _SHIFT) + hits - total * p
            step = _SHIFT + prior @ (pull - gain @ (prior @ pull)) - f
            f = f + np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-6:
                break
        return f, prior - prior @ gain @ prior

    def _histogram(self, rows: np.ndarray) -> np.ndarray:
        return np.histogram(self._logits[rows], bins=self._edges)[0].astype(np.float64)

    def count(self, rows: np.ndarray) -> Interval:
        """Count the wrong labels among some that are not decided: median, and the central 95 % of the number."""
        counts = self._histogram(rows)
        if not counts.any():
            return Interval(0.0, 0.0, 0.0)
        mean, variance = self._draws @ counts, (self._draws * (1 - self._draws)) @ counts
        rng = np.random.default_rng(0)
        numbers = mean + variance**0.5 * rng.normal(size=_DRAWS)
        numbers = np.where(mean < _FEW, rng.poisson(np.minimum(mean, _FEW)), numbers)
        low, middle, high = np.percentile(np.clip(numbers, 0, counts.sum()), (_TAILS[0], 50, _TAILS[1]))
        return Interval(float(middle), float(low), float(high))
