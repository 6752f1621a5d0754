"""The estimator in closed form: features by themselves, and its light."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import UntrustedFindings


def clouds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, given labels, three in ten of them wrong, and true labels."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=400)
    given = np.where(rng.random(400) < 0.3, (truth + rng.integers(1, 3, size=400)) % 3, truth)
    return 6 * np.eye(3)[truth] + rng.normal(size=(400, 3)), given, truth


def test_features_are_taken_in_closed_form():
    X, y, truth = clouds()
    clf = SelfDistillClassifier().fit(X, y)
    assert clf.method_ == "kernel"
    assert (clf.refined_labels_ == truth).mean() > 0.97
    assert (clf.predict(X) == truth).mean() > 0.97
    assert clf.trust_.verdict == "trust"
    assert clf.n_iter_ in (1, 2, 3)
    assert 0.7 < clf.get_label_issues()["is_label_issue"].sum() / (y != truth).sum() < 1.3
    assert_allclose(clf.pred_probs_.sum(1), 1, rtol=1e-5)
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert SelfDistillClassifier(epochs=2, random_state=0).fit(X, y).method_ == "selfdistill"
    assert SelfDistillClassifier("mlp:8", epochs=2, random_state=0).fit(X, y).closed_ is None


def test_labels_that_do_not_follow_from_the_inputs_are_warned_of():
    rng = np.random.default_rng(0)
    with pytest.warns(UntrustedFindings, match="These inputs do not tell these labels"):
        clf = SelfDistillClassifier().fit(rng.normal(size=(200, 3)), rng.integers(3, size=200))
    assert clf.trust_.verdict == "refuse"
