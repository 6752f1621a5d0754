"""How true and given labels go together: joint, noise matrix, its inverse, from soft labels (arXiv 1911.00068)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    r"""Estimated counts of true and given labels, and what follows from them.

    With refined distributions :math:`q_i` and given labels :math:`y_i`, the expected counts are

    .. math:: C_{c,j} = \sum_{i : y_i = j} q_i(c)

    so that column j sums to the number of given labels j: the calibration that confident learning does afterwards
    holds by itself.

    Attributes:
        counts: C, ``[clean, given]``, float64 ``[K, K]``.

    References:
        Northcutt, Jiang & Chuang (2021), arXiv 1911.00068, section 3 (the joint; there from thresholded counts).

    Example:
        >>> found = NoiseEstimate(np.array([[3.0, 1.0], [0.0, 4.0]]))
        >>> found.noise_matrix.tolist(), found.inverse.tolist()
        ([[0.75, 0.25], [0.0, 1.0]], [[1.0, 0.0], [0.2, 0.8]])
        >>> found.health
        0.875
    """

    counts: np.ndarray

    @property
    def joint(self) -> np.ndarray:
        """Probability of each pair, ``[clean, given]``; sums to 1."""
        return np.asarray(self.counts / max(self.counts.sum(), 1e-300))

    @property
    def noise_matrix(self) -> np.ndarray:
        """``T[clean, given]``, rows sum to 1. A class that is never the true one (`unseen`) has the row of no noise."""
        return _rows(self.counts)

    @property
    def inverse(self) -> np.ndarray:
        """Probability of each true class by given label, ``[given, clean]``; of no label, the row of no noise."""
        return _rows(self.counts.T)

    @property
    def clean_share(self) -> np.ndarray:
        """Estimated share of each true class, ``[K]``."""
        return np.asarray(self.joint.sum(1))

    @property
    def given_share(self) -> np.ndarray:
        """Share of each given label, ``[K]``."""
        return np.asarray(self.joint.sum(0))

    @property
    def unseen(self) -> np.ndarray:
        """Classes of which less than half an example is expected, positions: nothing is known about their noise."""
        return np.asarray(np.flatnonzero(self.counts.sum(1) < 0.5))

    @property
    def wrong(self) -> float:
        """Expected number of wrong labels."""
        return float(self.counts.sum() - np.trace(self.counts))

    @property
    def health(self) -> float:
        """Expected share of right labels, 0 to 1."""
        return float(np.trace(self.joint))

    def confident_joint(self) -> np.ndarray:
        """Return the counts as whole numbers whose columns sum to the numbers of given labels.

        Returns:
            int64 ``[clean, given]``; each column is rounded by largest remainders.
        """
        floor = np.floor(self.counts)
        left = (np.rint(self.counts.sum(0)) - floor.sum(0)).astype(np.int64)
        place = np.argsort(np.argsort(-(self.counts - floor), axis=0, kind="stable"), axis=0, kind="stable")
        return np.asarray(floor + (place < left), np.int64)

    def overlap(self, most: int | None = None) -> list[tuple[int, int, float]]:
        """List the pairs of classes that are taken for one another, most often first.

        Args:
            most: Number of pairs; all if left out.

        Returns:
            First class, second class (positions, first < second), expected number of examples of either that have the
            other's label.
        """
        both = self.counts + self.counts.T
        first, second = np.triu_indices(len(both), 1)
        order = np.argsort(-both[first, second], kind="stable")[:most]
        return [(int(first[i]), int(second[i]), float(both[first[i], second[i]])) for i in order]


def _rows(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(1, keepdims=True)
    seen = total >= 0.5
    return np.asarray(np.where(seen, counts / np.where(seen, total, 1), np.eye(len(counts))))
