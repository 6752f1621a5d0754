"""The estimator's side of cleanlab's contract, held by the real cleanlab."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cleanlab import count, dataset
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError, SettingError
from selfdistill.issues import find_issues
from selfdistill.issues._northcutt2021joint import NoiseEstimate
from selfdistill.issues._table import sample_weights

pytestmark = pytest.mark.usefixtures("few_trees")

N, K = 300, 3


def blobs(seed=0, rate=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(K, size=N)
    centres = 5 * np.stack([np.cos(2 * np.pi * np.arange(K) / K), np.sin(2 * np.pi * np.arange(K) / K)], 1)
    given = np.where(rng.random(N) < rate, (truth + rng.integers(1, K, size=N)) % K, truth)
    return centres[truth] + rng.normal(size=(N, 2)), given, truth


@pytest.fixture(scope="module")
def fitted():
    X, y, truth = blobs()
    return SelfDistillClassifier("mlp:32", epochs=30, random_state=0).fit(X, y), X, y, truth


@pytest.fixture(scope="module")
def theirs(fitted):
    """CleanLearning on the same data, for names, types and orientations."""
    _, X, y, _ = fitted
    return CleanLearning(LogisticRegression(), seed=0).fit(X, y)


def test_the_table_begins_with_cleanlab_s_own_columns_in_order_and_type(fitted, theirs):
    ours, other = fitted[0].get_label_issues(), theirs.get_label_issues()
    assert list(ours.columns[: len(other.columns)]) == list(other.columns)
    assert ours.dtypes.iloc[: len(other.columns)].tolist() == other.dtypes.tolist()
    assert isinstance(ours.index, pd.RangeIndex)
    assert_array_equal(ours["given_label"], other["given_label"])
    agree = (ours["is_label_issue"] == other["is_label_issue"]).mean()
    assert agree > 0.95


def test_matrices_have_cleanlab_s_orientation_and_nearly_its_numbers(fitted, theirs):
    clf, _, y, truth = fitted
    known = np.zeros((K, K))
    np.add.at(known, (y, truth), 1)  # [given, true]
    for name in ("noise_matrix", "inverse_noise_matrix"):
        ours, other = getattr(clf, name), getattr(theirs, name)
        assert ours.shape == other.shape
        assert_allclose(ours.sum(0), 1)
        assert_allclose(ours, other, atol=0.05)
    assert_allclose(clf.noise_matrix, known / known.sum(0), atol=0.05)
    assert_allclose(clf.inverse_noise_matrix, (known / known.sum(1, keepdims=True)).T, atol=0.05)
    assert clf.confident_joint.dtype == theirs.confident_joint.dtype
    assert_array_equal(clf.confident_joint.sum(1), np.bincount(y))
    assert_allclose(clf.confident_joint, theirs.confident_joint, atol=8)
    assert_allclose(clf.py, theirs.py, atol=0.03)
    assert_allclose(clf.ps, theirs.ps)
    assert_allclose(clf.joint.sum(), 1)
    assert clf.num_classes == theirs.num_classes == K
    assert_array_equal(clf.label_issues_mask, clf.label_issues_df["is_label_issue"])
    assert_array_equal(clf.sample_weight, clf.label_issues_df["sample_weight"])


def test_matrices_under_strong_one_way_noise_are_not_their_transposes():
    X, _, truth = blobs()
    y = np.where((truth == 0) & (np.arange(N) % 5 < 2), 1, truth)  # two fifths of class 0 are called 1
    clf = SelfDistillClassifier("mlp:32", epochs=30, random_state=0).fit(X, y)
    other = CleanLearning(LogisticRegression(), seed=0).fit(X, y)
    for found in (clf, other):
        assert found.noise_matrix[1, 0] > 0.3 > found.noise_matrix[0, 1] + 0.2
        assert found.inverse_noise_matrix[0, 1] > 0.12 > found.inverse_noise_matrix[1, 0] + 0.06
        assert found.confident_joint[1, 0] > 18 > found.confident_joint[0, 1] + 12
    known = np.zeros((K, K))
    np.add.at(known, (y, truth), 1)
    assert_allclose(clf.noise_matrix, known / known.sum(0), atol=0.06)


def test_soft_labels_go_into_find_label_issues_untouched(fitted):
    clf, _, y, truth = fitted
    mask = find_label_issues(y, clf.pred_probs_)
    assert mask.shape == (N,)
    assert (mask == (y != truth)).mean() > 0.95
    ranked = find_label_issues(y, clf.pred_probs_, return_indices_ranked_by="self_confidence")
    assert set(ranked) == set(np.flatnonzero(mask))
    joint = find_label_issues(y, clf.pred_probs_, confident_joint=clf.confident_joint)
    assert (joint == mask).mean() > 0.95


def test_soft_labels_and_the_joint_go_into_health_summary_untouched(fitted):
    clf, _, y, truth = fitted
    health = dataset.health_summary(y, clf.pred_probs_, verbose=False)
    assert abs(health["overall_label_health_score"] - (y == truth).mean()) < 0.05
    from_joint = dataset.overall_label_health_score(joint=clf.joint, num_examples=N, verbose=False)
    assert from_joint == pytest.approx(clf.label_table_.noise.health)
    overlap = dataset.find_overlapping_classes(joint=clf.joint, num_examples=N)
    first = overlap.iloc[0]
    a, b, examples = clf.label_table_.noise.overlap(1)[0]
    assert (first["Class Index A"], first["Class Index B"]) == (a, b)
    assert first["Num Overlapping Examples"] == round(examples)
    assert count.num_label_issues(y, clf.pred_probs_) == pytest.approx((y != truth).sum(), abs=12)


def forms(table):
    mask = table["is_label_issue"].to_numpy()
    return {"frame": table, "mask": mask, "indices": np.flatnonzero(mask), "int32": np.flatnonzero(mask).astype("i4")}


@pytest.mark.parametrize("form", ["frame", "mask", "indices", "int32"])
def test_each_form_of_issues_leaves_the_same_examples_out(fitted, form):
    clf, X, y, truth = fitted
    table = clf.get_label_issues()
    given = forms(table)[form]
    quick = SelfDistillClassifier("mlp:32", epochs=15, random_state=0)
    pruned = clone(quick).fit(X, labels=y, label_issues=given)
    keep = ~table["is_label_issue"].to_numpy()
    alone = clone(quick).fit(X[keep], y[keep])
    assert_array_equal(pruned.label_issues_mask, ~keep)
    assert pruned.pred_probs_.shape == (N, K)
    assert_allclose(pruned.pred_probs_.sum(1), 1, rtol=1e-5)
    assert_allclose(pruned.pred_probs_[~keep], pruned.predict_proba(X[~keep]), rtol=1e-5, atol=1e-6)
    found = pruned.get_label_issues()
    assert (pruned.label_table_.first_learned[~keep] == -1).all()
    assert (pruned.label_table_.first_learned[keep] >= 0).mean() > 0.9
    assert (found["sample_weight"][~keep] == 0).all()
    assert (found["sample_weight"][keep] >= 1).all()
    assert pruned.score(X, truth) > 0.95
    assert abs(pruned.score(X, truth) - alone.score(X, truth)) < 0.03
    if form == "frame":  # what was passed stands; the weights are this fit's
        pd.testing.assert_frame_equal(found.drop(columns="sample_weight"), table.drop(columns="sample_weight"))


def test_columns_of_the_caller_s_own_are_kept(fitted):
    clf, X, y, _ = fitted
    table = clf.get_label_issues()[["is_label_issue", "given_label"]].assign(reviewer="me").set_index(np.arange(N) + 5)
    found = SelfDistillClassifier("mlp:16", epochs=3, random_state=0).fit(X, y, label_issues=table).get_label_issues()
    assert list(found.columns[:5]) == list(clf.get_label_issues().columns[:5])
    assert (found["reviewer"] == "me").all()
    assert isinstance(found.index, pd.RangeIndex)


@pytest.mark.parametrize(
    ("issues", "words"),
    [
        (lambda y: np.zeros(7, bool), r"mask of shape \(7,\), but the number of labels is 300"),
        (lambda y: np.array([0, N]), "names row 300, but the number of labels is 300. Count rows from 0"),
        (lambda y: np.array([-1]), "names row -1"),
        (lambda y: np.array([3, 3]), "names a row twice"),
        (lambda y: np.array([0.5]), "of type float64. Pass a DataFrame"),
        (lambda y: pd.DataFrame({"wrong": y == 0}), r"no column 'is_label_issue' \(it has wrong\)"),
        (lambda y: pd.DataFrame({"is_label_issue": y[:5] == 0}), "has 5 rows, but the number of labels is 300"),
        (lambda y: pd.DataFrame({"is_label_issue": y}), "is of type int64. Make it bool"),
        (
            lambda y: pd.DataFrame({"is_label_issue": y == 0, "given_label": (y + 1) % 3}),
            r"\['given_label'\] is \d in row 0, but the label there is number \d of the classes \(300 rows differ\)",
        ),
        (lambda y: y != 0, "without 2.. label issues of 300, only the class '0' is left. Leave fewer"),
        (lambda y: np.ones(N, bool), "without 300 label issues of 300, no example is left"),
    ],
)
def test_issues_that_do_not_fit_are_refused_before_training(issues, words):
    X, y, _ = blobs()
    clf = SelfDistillClassifier("mlp:16", epochs=10**9)
    with pytest.raises(DataError, match=words):
        clf.fit(X, y, label_issues=issues(y))


def test_no_issue_at_all_is_plain_training(fitted):
    _, X, y, _ = fitted
    quick = SelfDistillClassifier("mlp:16", epochs=3, random_state=0)
    assert_allclose(
        clone(quick).fit(X, y, label_issues=np.array([], dtype=int)).pred_probs_, clone(quick).fit(X, y).pred_probs_
    )


def test_find_label_issues_trains_once_and_anew_each_time(fitted):
    _, X, y, truth = fitted
    clf = SelfDistillClassifier("mlp:32", epochs=20, random_state=0)
    first = clf.find_label_issues(X, y)
    pd.testing.assert_frame_equal(first, clf.get_label_issues())
    other = clf.find_label_issues(X, truth)  # the stale joint of CleanLearning would be reused here
    fresh = SelfDistillClassifier("mlp:32", epochs=20, random_state=0).find_label_issues(X, truth)
    pd.testing.assert_frame_equal(other, fresh)
    assert other["is_label_issue"].sum() < first["is_label_issue"].sum()
    assert clf.score(X, truth) > 0.95


def test_find_label_issues_takes_probabilities_of_any_origin_without_training(theirs, fitted):
    _, X, y, truth = fitted
    soft = theirs.predict_proba(X)
    clf = SelfDistillClassifier()
    table = clf.find_label_issues(labels=y, pred_probs=soft)
    assert (table["is_label_issue"] == (y != truth)).mean() > 0.95
    assert_array_equal(table["predicted_label"], soft.argmax(1))
    assert_allclose(clf.noise_matrix, theirs.noise_matrix, atol=0.05)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    names = np.array(["c", "a", "b"])
    named = clf.find_label_issues(labels=names[y], pred_probs=soft[:, [1, 2, 0]])
    assert_array_equal(named["given_class"], names[y])
    assert_array_equal(named["is_label_issue"], table["is_label_issue"])


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"X": np.ones((2, 1))}, SettingError, "labels are missing. Call find_label_issues"),
        ({"labels": [0, 1]}, SettingError, "X and pred_probs are missing"),
        (
            {"labels": ["a", "b"], "pred_probs": np.full((2, 3), 1 / 3)},
            DataError,
            "hold 2 classes, but pred_probs has 3",
        ),
        ({"labels": [0, 1], "pred_probs": np.full((2, 3), 0.5)}, DataError, "row 0 of the soft labels sums to 1.5"),
        ({"labels": [0, 1, 1], "pred_probs": np.full((2, 2), 0.5)}, DataError, "have 2 rows, but the given labels"),
    ],
)
def test_find_label_issues_refuses(kwargs, error, words):
    with pytest.raises(error, match=words):
        SelfDistillClassifier().find_label_issues(**kwargs)


def test_a_class_that_is_never_predicted_falls_back_to_no_noise():
    y = np.array([0, 0, 1, 1, 2])
    soft = np.array([[0.99, 0.01, 0], [0.99, 0.01, 0], [0.01, 0.99, 0], [0.01, 0.99, 0], [0.3, 0.7, 0]])
    clf = SelfDistillClassifier()
    clf.find_label_issues(labels=y, pred_probs=soft)
    assert clf.noise_matrix[:, 2].tolist() == [0, 0, 1]
    assert np.isfinite(clf.sample_weight).all()
    assert clf.py[2] == 0


def test_save_space_keeps_what_predicts_and_says_what_is_gone(fitted):
    _, X, y, _ = fitted
    clf = SelfDistillClassifier("mlp:16", epochs=3, random_state=0).fit(X, y)
    before = clf.predict_proba(X)
    clf.save_space()
    assert_array_equal(clf.predict_proba(X), before)
    assert clf.noise_matrix is None
    assert not hasattr(clf, "pred_probs_")
    with pytest.warns(UserWarning, match=r"removed by save_space\(\). Call find_label_issues\(\) or fit\(\) again"):
        assert clf.get_label_issues() is None
    assert clf.fit(X, y).noise_matrix is not None
    kept = SelfDistillClassifier("mlp:16", epochs=3, random_state=0)
    assert len(kept.find_label_issues(X, y, save_space=True)) == N
    assert kept.label_issues_df is None


def test_before_fit_attributes_are_none_and_the_table_is_refused():
    clf = SelfDistillClassifier()
    for name in ("noise_matrix", "inverse_noise_matrix", "confident_joint", "joint", "py", "ps", "num_classes"):
        assert getattr(clf, name) is None
    assert clf.label_issues_df is clf.label_issues_mask is clf.sample_weight is None
    with pytest.raises(NotFittedError, match="find_label_issues"):
        clf.get_label_issues()


def test_it_works_inside_clean_learning(fitted):
    _, X, y, truth = fitted
    clean = CleanLearning(SelfDistillClassifier("mlp:16", epochs=10, random_state=0), cv_n_folds=2, seed=0).fit(X, y)
    assert clean.score(X, truth) > 0.9


def test_cleanlab_takes_our_table_and_our_indices(fitted):
    clf, X, y, truth = fitted
    for issues in (clf.get_label_issues(), clf.label_issues_mask, np.flatnonzero(clf.label_issues_mask)):
        pruned = CleanLearning(LogisticRegression(), seed=0).fit(X, y, label_issues=issues)
        assert pruned.score(X, truth) > 0.95


def test_no_weight_is_above_a_thousand():
    """A class that is next to never right, some of whose labels are not flagged all the same."""
    counts = np.array([[8.0, 0.0, 0.0], [9.999, 0.001, 0.0], [0.0, 5.0, 5.0]])
    table = find_issues([0, 1, 2], np.eye(3) * 0.7 + 0.1)
    table = replace(table, noise=NoiseEstimate(counts), is_issue=np.array([False, False, False]))
    assert_allclose(sample_weights(table), [1.0, 1000.0, 2.0])
    assert_allclose(sample_weights(replace(table, is_issue=np.array([True, True, False]))), [0.0, 0.0, 2.0])
