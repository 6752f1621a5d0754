"""Wrong labels for true ones: symmetric, from class to class, by a weak model, and as people or rules gave them.

``symmetric-40`` changes 40 % of the labels, the true class excluded. ``pair-40`` turns a label into the next class.
With two classes that would be symmetric, so there ``one-sided-40`` changes labels of the smaller class only. ``weak``
takes the answers of a small tree or a linear model that saw a tenth of the data.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from benchmarks.features.cache import as_arrays
from benchmarks.features.data_sets import DataSet
from selfdistill import noise
from selfdistill._core.errors import DataError
from selfdistill._core.rng import derive, numpy_generator

_SYMMETRIC, _PAIR = (0, 5, 20, 40, 60, 80), (30, 40)
WEAK_RATE, _MOST_WRONG = 0.25, 0.30
_DEPTHS = (1, 2, 3, 5, 8)


def kinds(data_set: DataSet) -> list[str]:
    """Name the kinds of noise that a data set is measured with.

    Symmetric noise stops where the true class is no longer clearly the most frequent of its labels.
    """
    k = data_set.num_classes
    symmetric = [f"symmetric-{rate}" for rate in _SYMMETRIC if 1 - rate / 100 > 1.2 * rate / 100 / (k - 1)]
    paired = [f"{'pair' if k > 2 else 'one-sided'}-{rate}" for rate in _PAIR]
    return [*data_set.given, *symmetric, *paired, "weak"]


def draw(data_set: DataSet, kind: str, seed: int) -> np.ndarray:
    """Give each training row a label that may be wrong."""
    if kind in data_set.given:
        return data_set.given[kind]
    if kind not in kinds(data_set):
        raise DataError(f"{data_set.name} has no noise {kind!r}", f"Choose of {', '.join(kinds(data_set))}.")
    if kind == "weak":
        return _weak(_standardised(data_set), data_set.truth, seed)
    name, _, percent = kind.rpartition("-")
    drawn = noise.draw(torch.from_numpy(data_set.truth), _matrix(name, int(percent) / 100, data_set.truth), seed)
    return drawn.labels.numpy()


def _matrix(name: str, rate: float, truth: np.ndarray) -> torch.Tensor:
    k = int(truth.max()) + 1
    if name == "symmetric":
        return noise.symmetric(k, rate, include_clean=False)
    if name == "pair":
        return noise.pair(k, rate)
    smaller = int(np.bincount(truth).argmin())
    matrix = torch.eye(2, dtype=torch.float64)
    matrix[smaller, smaller], matrix[smaller, 1 - smaller] = 1 - rate, rate
    return matrix


def _standardised(data_set: DataSet) -> np.ndarray:
    return StandardScaler().fit_transform(as_arrays(data_set.train, data_set.test)[0])


def _weak(inputs: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Take the answers of the model whose share of wrong answers is nearest to `WEAK_RATE`.

    Where even that one errs too often, a random part of its errors is put right.
    """
    state = derive(seed, "features", "weak") % 2**32
    seen, _ = train_test_split(np.arange(len(truth)), train_size=0.1, random_state=state, stratify=truth)
    models = [DecisionTreeClassifier(max_depth=depth, random_state=state) for depth in _DEPTHS]
    answers = [model.fit(inputs[seen], truth[seen]).predict(inputs) for model in models]
    linear = LogisticRegression(max_iter=500)
    answers.append(linear.fit(inputs[seen], truth[seen]).predict(inputs))
    given = min(answers, key=lambda labels: abs((labels != truth).mean() - WEAK_RATE)).copy()
    wrong = np.flatnonzero(given != truth)
    if len(wrong) > _MOST_WRONG * len(truth):
        order = numpy_generator(seed, "features", "weak").permutation(wrong)
        right = order[round(WEAK_RATE * len(truth)) :]
        given[right] = truth[right]
    return given
