"""Rivals that ask the nearest rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from benchmarks.features.inputs import standardised

Found = dict[str, Any]


def k_nearest(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, neighbours: int) -> Found:
    """Let the nearest rows vote; a training row is left out of its own vote."""
    near, near_test = _search(X, given, k, X_test, neighbours)
    votes, test_votes = _votes(given[near], k), _votes(given[near_test], k)
    own = votes[np.arange(len(given)), given]
    return {"test_scores": test_votes, "quality": own, "flagged": votes.argmax(1) != given, "refined": votes.argmax(1)}


def adaptive(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, least: int, most: int) -> Found:
    """Weighted adaptive nearest neighbours (WANN, Di Salvo et al., TMLR 2025, arXiv:2408.14358).

    A row's number of neighbours is the smallest odd one whose majority is the row's own label, and its reliability is
    one over that number. A test row asks as many neighbours as its nearest training row needed, weighted by theirs.
    The ranking is by reliability; within ties by the neighbours' weighted share of the row's own label.
    """
    most = min(most, len(given) - 1)
    near, near_test = _search(X, given, k, X_test, most)
    labels = given[near]
    needed = np.full(len(given), most)
    for number in range(least, most, 2)[::-1]:
        needed[_votes(labels[:, :number], k).argmax(1) == given] = number
    weights = 1 / needed
    test_scores = _weighted(given, weights, near_test, needed[near_test[:, 0]], k)
    votes = _weighted(given, weights, near, needed, k)
    own = votes[np.arange(len(given)), given] / votes.sum(1)
    tie_break = 1e-3 / most**2  # below the smallest gap between two reliabilities
    return {
        "test_scores": test_scores,
        "quality": weights + tie_break * own,
        "flagged": needed == most,
        "refined": votes.argmax(1),
    }


def _weighted(given: np.ndarray, weights: np.ndarray, near: np.ndarray, numbers: np.ndarray, k: int) -> np.ndarray:
    counted = np.arange(near.shape[1])[None] < numbers[:, None]
    return _votes(given[near], k, np.where(counted, weights[near], 0.0))


def _votes(labels: np.ndarray, k: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Add up the labels of neighbours ``[n, m]``: shares, or sums of weights."""
    votes = np.zeros((len(labels), k))
    rows = np.arange(len(labels))
    for place in range(labels.shape[1]):
        votes[rows, labels[:, place]] += 1 / labels.shape[1] if weights is None else weights[:, place]
    return votes


def _search(X: Any, given: np.ndarray, k: int, X_test: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest others of each row, by distance or by angle: what agrees with the given labels more often."""
    train, test = standardised(X, X_test)
    number = min(number, len(train) - 1)
    found = []
    for inputs, test_inputs in ((train, test), (normalize(train), normalize(test))):
        search = NearestNeighbors(n_neighbors=number, algorithm="brute").fit(inputs)
        near = search.kneighbors(return_distance=False)
        agreement = (_votes(given[near], k).argmax(1) == given).mean()
        found.append((agreement, near, search, test_inputs))
    _, near, search, test_inputs = max(found, key=lambda one: one[0])
    return near, search.kneighbors(test_inputs, return_distance=False)
