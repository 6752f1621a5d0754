"""Our estimator with its methods, and cleanlab around classifiers of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from benchmarks.features.inputs import for_estimator, standardised
from benchmarks.features.linear import regression
from selfdistill import SelfDistillClassifier

Found = dict[str, Any]


def own(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, method: str) -> Found:
    """Our estimator as a user would call it."""
    return _fitted(
        SelfDistillClassifier(method=method, random_state=seed), for_estimator(X), given, for_estimator(X_test)
    )


def probe(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, **settings: Any) -> Found:
    """A linear layer on standardised inputs, trained by one of our implementations of other papers' methods."""
    train, test = standardised(X, X_test)
    return _fitted(SelfDistillClassifier(_linear, random_state=seed, **settings), train, given, test)


def _linear(shape: tuple[int, ...], k: int) -> nn.Module:
    return nn.Linear(shape[0], k)


def _fitted(estimator: SelfDistillClassifier, train: Any, given: np.ndarray, test: Any) -> Found:
    estimator.fit(train, given)
    return {
        "test_scores": estimator.predict_proba(test),
        "quality": estimator.label_quality_,
        "flagged": estimator.get_label_issues()["is_label_issue"].to_numpy(),
        "expected_wrong": float(estimator.label_table_.noise.wrong),
        "plausible": None if estimator.closed_ is None else estimator.closed_.plausible_wrong,
        "refined": estimator.refined_labels_,
    }


def cleanlab(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, folds: int, **settings: Any) -> Found:
    """Cleanlab: label quality from predictions out of fold, and a last training without the labels it flags.

    It wraps a logistic regression where there are settings for one, else scikit-learn's gradient boosting.
    """
    from cleanlab.classification import CleanLearning
    from cleanlab.count import estimate_joint

    train, test = standardised(X, X_test)
    boosting = HistGradientBoostingClassifier(random_state=seed)
    model = regression(train, given, k, seed, settings) if settings else boosting
    learning = CleanLearning(model, seed=seed, cv_n_folds=folds)
    issues = learning.find_label_issues(train, given)
    joint = estimate_joint(given, confident_joint=learning.confident_joint, pred_probs=None)
    learning.fit(train, given, label_issues=issues)
    return {
        "test_scores": learning.predict_proba(test),
        "quality": issues["label_quality"].to_numpy(),
        "flagged": issues["is_label_issue"].to_numpy(),
        "expected_wrong": float((1 - np.trace(joint)) * len(given)),
        "refined": issues["predicted_label"].to_numpy(),
    }


def warm_up() -> None:
    """Train on a few rows, so that what torch loads at its first step counts for nobody."""
    rows = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    SelfDistillClassifier("mlp:2", epochs=1, random_state=0).fit(rows, np.arange(32) % 2).predict_proba(rows)
