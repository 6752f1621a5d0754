"""Votes of several people for one row: drawn from an urn, so that they may depend on each other."""

from __future__ import annotations

import numpy as np


class Ballots:
    """Votes of each row."""

    # After j votes, of which m are for class c, the next is for c with probability (T_yc + m d) / (1 + j d),
    # y the true class: a Dirichlet-multinomial distribution with concentration 1/d. With d = 0 votes are independent;
    # the larger it is, the less repeated votes say.
    # Paul, Carpenter, Chamberlain, Hovy, Kruschwitz & Poesio (2018), "Comparing Bayesian Models of Annotation".

    def __init__(self, shares: np.ndarray, votes: np.ndarray) -> None:
        counts = np.rint(shares.T * votes)
        self.k, self.most, self.votes = len(counts), int(counts.max(initial=1)), votes
        self._more = np.concatenate([counts > m for m in range(self.most)]).astype(
            np.float64
        )  # than m votes, [most K, n]
        self._before = np.arange(votes.max(initial=1))

    def log_likelihood(self, matrix: np.ndarray, dependence: float) -> np.ndarray:
        """Explain all votes of a row together."""
        spent = self._sums(np.log1p(dependence * self._before))
        return np.asarray(np.log(self._odds(matrix, dependence)).reshape(self.k, -1) @ self._more - spent)

    def slopes(self, matrix: np.ndarray, dependence: float, posterior: np.ndarray) -> tuple[np.ndarray, float]:
        """Differentiate the mean of the log-likelihood over a posterior."""
        odds = self._odds(matrix, dependence)
        each = (posterior @ self._more.T).reshape(odds.shape) / odds
        spent = self._sums(self._before / (1 + self._before * dependence)) @ posterior.sum(0)
        return matrix * each.sum(1), float(dependence * (each.sum((0, 2)) @ np.arange(self.most) - spent))

    def _odds(self, matrix: np.ndarray, dependence: float) -> np.ndarray:
        """Give T + m d, ``[K, most, K]``."""
        return np.asarray(np.maximum(matrix[:, None] + dependence * np.arange(self.most)[:, None], 1e-300))

    def _sums(self, terms: np.ndarray) -> np.ndarray:
        """Sum the terms of each row's votes, ``[n]``."""
        return np.asarray(np.concatenate([[0.0], np.cumsum(terms)])[self.votes])
