"""Doubtful examples in groups: by given and suggested label, and by how near they lie to one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_EACH = 10  # examples of a cluster, about
_MOST = 50  # clusters
_WORDS = 3  # in the name of one
_LEAST = 0.1  # by how much more of a cluster than of all examples holds such a word
_LISTED = 1000  # pairs of classes
_FEWEST = 10  # examples that are grouped


@dataclass(frozen=True)
class View:
    """Which examples a page goes through."""

    given: int | None = None  # code of the given label; ``None``: any
    suggested: int | None = None  # code of the suggested label; ``None``: any
    cluster: int | None = None  # number of the cluster; ``None``: any
    search: str = ""  # what the name, one of both labels, the text or a cell holds, whatever the case


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which doubtful examples lie together."""

    of: np.ndarray  # number of each example's cluster, int64 ``[n]``, -1: of none
    words: list[list[str]]  # of each cluster, the words that set it apart; empty where there are no texts

    def listed(self, rows: np.ndarray, given: np.ndarray, suggested: np.ndarray) -> list[dict[str, Any]]:
        """Name clusters by their commonest pair of labels and their words, the largest first."""
        found, at = [], self.of[rows]
        for number, words in enumerate(self.words):
            inside = at == number
            if inside.any():
                different = inside & (given != suggested)
                pair = pairs(*((one[different] if different.any() else one[inside]) for one in (given, suggested)))[0]
                found.append(pair | {"cluster": number, "words": words, "count": int(inside.sum())})
        return sorted(found, key=lambda one: -one["count"])


def pairs(given: np.ndarray, suggested: np.ndarray) -> list[dict[str, int]]:
    """Count pairs of labels: up to 1,000, the most frequent first."""
    different, counts = np.unique(np.stack([given, suggested]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_LISTED]
    return [{"given": int(different[0, i]), "suggested": int(different[1, i]), "count": int(counts[i])} for i in order]


def cluster(features: np.ndarray) -> np.ndarray:
    """Group rows by k-means, about ten to a cluster and at most fifty clusters; equal rows lie together."""
    from sklearn.cluster import KMeans

    count = min(_MOST, max(1, len(features) // _EACH), len(np.unique(features, axis=0)))
    if count == 1:
        return np.zeros(len(features), np.int64)
    return np.asarray(KMeans(count, n_init=1, random_state=0).fit(features).labels_, np.int64)


def common_words(texts: Sequence[str], groups: np.ndarray) -> list[list[str]]:
    """Find up to three words for each group that its texts hold more often than all texts do."""
    from sklearn.feature_extraction.text import CountVectorizer

    count = int(groups.max()) + 1
    try:
        vectoriser = CountVectorizer(binary=True, token_pattern=r"(?u)\b\w\w\w+\b", min_df=1, max_features=20_000)
        held = vectoriser.fit_transform(texts).astype(np.float32)
    except ValueError:  # no text has a word
        return [[] for _ in range(count)]
    names, usual = vectoriser.get_feature_names_out(), np.asarray(held.mean(0))[0]
    words = []
    for number in range(count):
        more = np.asarray(held[groups == number].mean(0))[0] - usual
        best = np.argsort(-more, kind="stable")[:_WORDS]
        words.append([str(names[one]) for one in best if more[one] > _LEAST])
    return words


def grouped(
    clusters: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    n: int,
    texts: Callable[[np.ndarray], Sequence[str]] | None,
) -> Clusters:
    """Group doubtful examples by ``clusters``, the most doubtful first; none of fewer than ten."""
    of = np.full(n, -1)
    if len(rows) < _FEWEST:
        return Clusters(of, [])
    numbers = clusters(rows)
    rows = rows[: len(numbers)]
    of[rows] = numbers
    return Clusters(of, common_words(texts(rows), numbers) if texts else [[] for _ in range(numbers.max() + 1)])
