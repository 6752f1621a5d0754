"""Linear rivals: logistic regression, retraining on consensus, and ridge regression in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression

from benchmarks.features.folds import out_of_fold, ranked
from benchmarks.features.inputs import standardised

Found = dict[str, Any]
_TUNING_FOLDS = 3
_STRENGTHS = np.logspace(-6, 3, 28)  # ridge parameters, over the mean squared singular value


def regression(train: np.ndarray, given: np.ndarray, k: int, seed: int, settings: dict[str, Any]) -> LogisticRegression:
    """Make a logistic regression."""
    models = [LogisticRegression(C=c, max_iter=settings["iterations"]) for c in settings.get("strengths", (1.0,))]
    if len(models) == 1:
        return models[0]
    rows = np.arange(len(given))

    def loss(model: LogisticRegression) -> float:
        found = out_of_fold(model, train, given, k, _TUNING_FOLDS, seed)[rows, given]
        return float(-np.log(np.maximum(found, 1e-12)).mean())

    return min(models, key=loss)


def logistic(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, **settings: Any) -> Found:
    """Plain logistic regression; rows are ranked by the probability of their own label, in sample."""
    train, test = standardised(X, X_test)
    model = regression(train, given, k, seed, settings).fit(train, given)
    return ranked(model.predict_proba(train), given) | {"test_scores": model.predict_proba(test)}


def consensus(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, **settings: Any) -> Found:
    """Train, keep the rows whose prediction is their given label, train again (Das et al. 2024, arXiv:2406.11206)."""
    train, test = standardised(X, X_test)
    model = regression(train, given, k, seed, settings)
    kept = model.fit(train, given).predict(train) == given
    if len(np.unique(given[kept])) < k:  # a class would be lost
        kept[:] = True
    model.fit(train[kept], given[kept])
    found = ranked(model.predict_proba(train), given)
    return found | {"test_scores": model.predict_proba(test), "flagged": ~kept}


def ridge(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int) -> Found:
    """Ridge regression on one-hot labels, its parameter by generalised cross-validation on the given labels.

    Rows are ranked by the exact leave-one-out margin of their own label.
    """
    train, test = (part.astype(np.float64) for part in standardised(X, X_test))
    centre, n = train.mean(0), len(train)
    train, test = train - centre, test - centre
    targets = np.eye(k)[given]
    share = targets.mean(0)
    values, left, right = _decompose(train)
    projected = left.T @ (targets - share)
    rest = ((targets - share) ** 2).sum() - (projected**2).sum()

    def criterion(strength: float) -> float:
        kept = values / (values + strength)
        error = (((1 - kept)[:, None] * projected) ** 2).sum() + rest
        return float(error / n / (1 - (kept.sum() + 1) / n) ** 2)

    strengths = _STRENGTHS * values.mean()
    chosen = min(strengths, key=criterion)
    kept = values / (values + chosen)
    fitted = share + left @ (kept[:, None] * projected)
    hat = (left**2 * kept).sum(1) + 1 / n
    left_out = (fitted - hat[:, None] * targets) / (1 - hat)[:, None]
    rows = np.arange(n)
    others = left_out.copy()
    others[rows, given] = -np.inf
    return {
        "test_scores": share + test @ (right @ ((np.sqrt(values) / (values + chosen))[:, None] * projected)),
        "quality": left_out[rows, given] - others.max(1),
        "flagged": left_out.argmax(1) != given,
        "refined": left_out.argmax(1),
    }


def _decompose(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find squared singular values and singular vectors, through the smaller of the two Gram matrices."""
    tall = len(inputs) >= inputs.shape[1]
    values, vectors = eigh(inputs.T @ inputs if tall else inputs @ inputs.T)
    kept = values > values[-1] * 1e-10
    values, vectors = values[kept], vectors[:, kept]
    other = (inputs @ vectors if tall else inputs.T @ vectors) / np.sqrt(values)
    return (values, other, vectors) if tall else (values, vectors, other)
