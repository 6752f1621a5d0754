"""The estimator in closed form: features by themselves, and its light."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError, ReliabilityWarning, SettingError

pytestmark = pytest.mark.usefixtures("few_trees")


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
    with pytest.warns(ReliabilityWarning, match="These inputs do not tell these labels"):
        clf = SelfDistillClassifier().fit(rng.normal(size=(200, 3)), rng.integers(3, size=200))
    assert clf.trust_.verdict == "refuse"


def test_rows_of_weight_zero_teach_nothing_but_have_findings():
    X, y, truth = clouds()
    out = np.arange(400) % 4 == 0
    spoiled = y.copy()
    spoiled[out] = (truth[out] + 1) % 3
    clf = SelfDistillClassifier(method="kernel", rounds=1).fit(X, spoiled, sample_weight=1.0 - out)
    alone = SelfDistillClassifier(method="kernel", rounds=1).fit(X[~out], spoiled[~out])
    assert_allclose(clf.pred_probs_[~out], alone.pred_probs_, atol=2e-3)
    assert_allclose(clf.predict_proba(X), alone.predict_proba(X), atol=0.02)
    assert len(clf.label_quality_) == len(clf.get_label_issues()) == 400
    assert (clf.refined_labels_[out] == truth[out]).mean() > 0.9
    assert clf.get_label_issues()["is_label_issue"][out].mean() > 0.9


def test_weights_take_any_form_and_come_through_pipelines_and_searches():
    X, y, _ = clouds()
    w = np.random.default_rng(0).integers(1, 3, 400)
    forms = w, w.tolist(), pd.Series(w, range(400, 0, -1))
    fits = [SelfDistillClassifier(rounds=1).fit(X, y, form) for form in forms]
    for one in fits[1:]:
        assert_array_equal(one.pred_probs_, fits[0].pred_probs_)
    even = SelfDistillClassifier(rounds=1).fit(X, y)
    assert np.abs(fits[0].closed_.noise_matrix - even.closed_.noise_matrix).max() > 1e-3
    pipe = make_pipeline(StandardScaler(), SelfDistillClassifier(rounds=1))
    pipe.fit(X, y, selfdistillclassifier__sample_weight=w)
    assert_allclose(pipe[-1].pred_probs_, fits[0].pred_probs_, atol=0.02)
    search = GridSearchCV(SelfDistillClassifier(rounds=1), {"kernel": ["linear", "rbf"]}, cv=2)
    search.fit(X, y, sample_weight=w)
    assert search.best_score_ > 0.5


def test_weights_go_with_the_rows_that_are_left_in():
    X, y, _ = clouds()
    w, left_out = np.random.default_rng(0).integers(1, 3, 400), np.arange(400) < 100
    clf = SelfDistillClassifier(rounds=1).fit(X, y, w, label_issues=left_out)
    alone = SelfDistillClassifier(rounds=1).fit(X[100:], y[100:], w[100:])
    assert_allclose(clf.pred_probs_[100:], alone.pred_probs_, atol=1e-6)
    assert_allclose(clf.closed_.noise_matrix, alone.closed_.noise_matrix, atol=1e-4)
    assert clf.closed_.scale == pytest.approx(alone.closed_.scale, rel=1e-4)


@pytest.mark.parametrize(
    ("w", "problem"),
    [
        (-np.ones(400), "the weight of row 0 is -1.0, but must be 0 or more"),
        (np.zeros(400), "must contain at least one non-zero number"),
        (np.full(400, 1e-3), "but hold 3 and sum to 0.4"),
        (np.ones(399), "sample_weight"),
        (np.ones((400, 2)), "Sample weights must be 1D"),
    ],
)
def test_weights_that_cannot_be_used_are_named(w, problem):
    X, y, _ = clouds()
    with pytest.raises(ValueError, match=problem):
        SelfDistillClassifier().fit(X, y, w)


@pytest.mark.parametrize("asked", [{"method": "selfdistill"}, {"network": "mlp:8"}, {"epochs": 2}])
def test_networks_take_no_distributions(asked):
    X, y, _ = clouds()
    with pytest.raises(SettingError, match="method 'selfdistill' takes no label distributions"):
        SelfDistillClassifier(**asked).fit(X, np.eye(3)[y])


def test_a_network_weighs_the_losses_of_its_examples():
    X, y, truth = clouds()
    fit = lambda w: SelfDistillClassifier("mlp:16", epochs=10, random_state=0).fit(X, y, w)
    plain, two, right = fit(None), fit(np.full(400, 2.0)), fit((y == truth).astype(float))
    np.testing.assert_allclose(two.predict_proba(X), plain.predict_proba(X), atol=1e-6)  # only proportions count
    assert right.module_ is not None
    assert np.abs(right.predict_proba(X) - plain.predict_proba(X)).max() > 0.01
    assert right.score(X, truth) > plain.score(X, truth) - 0.01
    with pytest.raises(ValueError, match="Sample weights must be 1D"):
        fit(np.ones((400, 2)))


def shares_of_votes(truth: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    votes = np.where(rng.random((5, 400)) < 0.4, rng.integers(3, size=(5, 400)), truth)
    return np.stack([(votes == c).mean(0) for c in range(3)], 1)


def test_shares_of_votes_are_taken_as_they_are():
    X, _, truth = clouds()
    shares = shares_of_votes(truth)
    clf = SelfDistillClassifier(method="kernel").fit(X, shares)
    assert_array_equal(clf.classes_, [0, 1, 2])
    assert clf.score(X, truth) > 0.97
    assert (clf.refined_labels_ == truth).mean() > (shares.argmax(1) == truth).mean()
    issues = clf.get_label_issues()
    assert_array_equal(issues["given_label"], shares.argmax(1))
    assert issues["is_label_issue"].sum() == np.rint((1 - clf.pred_probs_[np.arange(400), shares.argmax(1)]).sum())
    assert_allclose(pickle.loads(pickle.dumps(clf)).predict_proba(X), clf.predict_proba(X))
    hard = SelfDistillClassifier(method="kernel", rounds=1).fit(X, np.eye(3)[truth])
    assert_allclose(
        hard.pred_probs_, SelfDistillClassifier(method="kernel", rounds=1).fit(X, truth).pred_probs_, atol=1e-3
    )


def test_votes_of_a_row_count_by_their_number():
    X, _, truth = clouds()
    shares = shares_of_votes(truth)
    fit = lambda **more: SelfDistillClassifier(method="kernel", rounds=1).fit(X, shares, **more)
    clf = fit(votes=np.full(400, 5))
    assert (clf.refined_labels_ == truth).mean() > 0.98
    once = fit()
    with pytest.raises(DataError, match=r"the shares of row \d+ are not whole votes: 1 times 0\.\d+ is 0"):
        fit(votes=np.ones(400, int))
    assert np.log(clf.pred_probs_[range(400), truth]).mean() > np.log(once.pred_probs_[range(400), truth]).mean()
    part = np.arange(400) < 10
    assert len(fit(votes=np.full(400, 5), label_issues=part).refined_labels_) == 400
    with pytest.raises(DataError, match="y holds one label for each row"):
        SelfDistillClassifier(method="kernel").fit(X, truth, votes=np.full(400, 5))


def test_columns_of_a_table_of_shares_are_the_classes():
    X, _, truth = clouds()
    shares = shares_of_votes(truth)
    frame = pd.DataFrame(shares, columns=["pear", "apple", "fig"], index=range(400, 0, -1))
    clf = SelfDistillClassifier(rounds=1).fit(pd.DataFrame(X).add_prefix("x"), frame)
    assert clf.classes_.tolist() == ["apple", "fig", "pear"]
    assert (clf.refined_labels_ == np.array(["pear", "apple", "fig"])[truth]).mean() > 0.9
    assert (clf.predict(pd.DataFrame(X).add_prefix("x")) == np.array(["pear", "apple", "fig"])[truth]).mean() > 0.95


def test_several_labels_for_a_row_stay_refused():
    X, y, _ = clouds()
    for two in (np.eye(3, dtype=int)[y], np.ones((400, 3), bool), np.eye(3, dtype=int)[y].tolist()):
        with pytest.raises(ValueError, match=r"(?i)multi|bad input shape|1d array|1-dimensional"):
            SelfDistillClassifier().fit(X, two)
    with pytest.raises(DataError, match="row 0 of the label distributions holds 1 to 1 and sums to 3"):
        SelfDistillClassifier().fit(X, np.ones((400, 3)))
