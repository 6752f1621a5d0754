"""Rivals made of trees, and naive Bayes on words."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import ComplementNB

from benchmarks.features.folds import out_of_fold, ranked
from benchmarks.features.inputs import standardised
from selfdistill._core.errors import ResourceError

Found = dict[str, Any]


def forest(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, trees: int, leaf: int) -> Found:
    """Random forest; its votes out of bag rank the training rows."""
    train, test = standardised(X, X_test)
    model = RandomForestClassifier(trees, min_samples_leaf=leaf, oob_score=True, n_jobs=1, random_state=seed)
    model.fit(train, given)
    votes = np.nan_to_num(model.oob_decision_function_, nan=1 / k)  # a row that no tree left out has none
    return ranked(votes, given) | {"test_scores": model.predict_proba(test)}


def boosting(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int) -> Found:
    """Histogram gradient boosting of scikit-learn; rows are ranked by the probability of their own label, in sample."""
    train, test = standardised(X, X_test)
    model = HistGradientBoostingClassifier(random_state=seed).fit(train, given)
    return ranked(model.predict_proba(train), given) | {"test_scores": model.predict_proba(test)}


def light_boosting(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, folds: int) -> Found:
    """LightGBM; rows are ranked by the probability of their own label, out of fold."""
    try:
        from lightgbm import LGBMClassifier
    except ImportError as error:
        raise ResourceError("LightGBM is not installed", "Install it with: pip install lightgbm.") from error
    train, test = standardised(X, X_test)
    model = LGBMClassifier(n_jobs=1, random_state=seed, verbose=-1)
    found = out_of_fold(model, train, given, k, folds, seed)
    return ranked(found, given) | {"test_scores": model.fit(train, given).predict_proba(test)}


def naive_bayes(X: Any, given: np.ndarray, k: int, X_test: Any, seed: int, *, folds: int) -> Found:
    """Complement naive Bayes on counts of words; rows are ranked by the probability of their own label, out of fold."""
    words = CountVectorizer()
    train, test = words.fit_transform(X), words.transform(X_test)
    model = ComplementNB()
    found = out_of_fold(model, train, given, k, folds, seed)
    return ranked(found, given) | {"test_scores": model.fit(train, given).predict_proba(test)}
