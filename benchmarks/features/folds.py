"""Predictions out of fold, and the ranking that predictions give."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import StratifiedKFold

Found = dict[str, Any]


def out_of_fold(model: ClassifierMixin, inputs: Any, given: np.ndarray, k: int, folds: int, seed: int) -> np.ndarray:
    """Predict each row by a model that has not seen it."""
    found = np.zeros((len(given), k))
    for seen, left_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(given, given):
        fitted = clone(model).fit(inputs[seen], given[seen])
        found[np.ix_(left_out, fitted.classes_)] = fitted.predict_proba(inputs[left_out])
    return found


def ranked(found: np.ndarray, given: np.ndarray) -> Found:
    """Rank rows by the probability of their own label; flag and refine them by the most likely one."""
    refined = found.argmax(1)
    return {"quality": found[np.arange(len(given)), given], "flagged": refined != given, "refined": refined}
