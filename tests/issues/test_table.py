"""Findings, their cut-off and their comparison with the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from selfdistill._core.errors import DataError
from selfdistill.issues import compare_with_truth, find_issues, label_table
from selfdistill.issues._table import count_issues, flag
from selfdistill.issues._toneva2019forgetting import LearningDynamics


def watched(seed, k, epochs, n=6):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    history = torch.randn(epochs, n, k, generator=g).mul(2).softmax(-1)
    dynamics = LearningDynamics(labels)
    for mean in history:
        dynamics.update(mean, torch.ones(n, dtype=torch.bool))
    refined = torch.rand(n, k, generator=g) + 0.01
    return labels, history, dynamics, refined / refined.sum(1, keepdim=True)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 4), st.integers(1, 100))
@settings(max_examples=30)
def test_every_column_equals_its_formula(seed, k, epochs, block_bytes):
    labels, history, dynamics, refined = watched(seed, k, epochs)
    table = label_table(refined, dynamics, block_bytes=block_bytes)
    for i, row in enumerate(refined.tolist()):
        y = int(labels[i])
        confidence = math.prod(float(p[i, y]) for p in history) ** (1 / epochs)
        assert table.refined[i] == row.index(max(row))
        assert table.relabelled[i] == (table.refined[i] if table.is_issue[i] else y)
        assert math.isclose(table.confidence[i], max(row), rel_tol=1e-5)
        assert math.isclose(table.p_given[i], row[y], rel_tol=1e-5)
        assert math.isclose(table.quality[i], math.sqrt(row[y] * confidence), rel_tol=1e-4)
        assert math.isclose(table.entropy[i], -sum(p * math.log(p) for p in row), rel_tol=1e-4, abs_tol=1e-5)
    np.testing.assert_allclose(table.distribution.sum(1), 1, rtol=1e-5)
    assert table.is_issue.sum() == round(sum(1 - float(p) for p in table.p_given))


def test_types_are_those_of_the_run_directory():
    _, _, dynamics, refined = watched(0, 3, 2)
    table = label_table(refined, dynamics)
    expected = {
        "quality": "float32",
        "is_issue": "bool",
        "first_learned": "int32",
        "forgotten": "int32",
        "given": "int64",
        "refined": "int64",
        "relabelled": "int64",
        "confidence": "float32",
        "p_given": "float32",
        "entropy": "float32",
    }
    assert {name: getattr(table, name).dtype.name for name in expected} == expected


def test_without_training_the_quality_is_the_probability_and_the_dynamics_are_unknown():
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    table = find_issues(np.arange(20) % 3, soft)
    np.testing.assert_allclose(table.quality, soft[np.arange(20), np.arange(20) % 3], rtol=1e-5)
    assert (table.first_learned == -1).all()
    assert (table.forgotten == -1).all()
    assert table.distribution is soft  # read in blocks, never copied


def test_a_tensor_is_copied_so_that_training_on_changes_no_finding():
    _, _, dynamics, refined = watched(0, 3, 2)
    table = label_table(refined, dynamics)
    before = table.distribution.copy()
    refined.zero_()
    np.testing.assert_array_equal(table.distribution, before)


def test_rows_that_do_not_match_the_labels_are_refused():
    _, _, dynamics, refined = watched(0, 3, 2)
    with pytest.raises(DataError, match="soft labels have 5 rows, but the given labels have shape"):
        label_table(refined[:5], dynamics)
    with pytest.raises(DataError, match="row 0 of the soft labels sums to 2"):
        label_table(2 * refined, dynamics)


def test_of_two_estimates_the_one_that_expects_more_wrong_labels_decides():
    soft = np.tile([0.9, 0.1], (10, 1))
    labels = np.repeat([0, 1], 5)
    alone = find_issues(labels, soft)
    assert alone.is_issue.sum() == 5
    more, fewer = np.array([[1.0, 4.0], [4.0, 1.0]]), np.array([[5.0, 1.0], [0.0, 4.0]])
    assert find_issues(labels, soft, counts=more).is_issue.sum() == 8
    assert find_issues(labels, soft, counts=torch.tensor(more)).noise.wrong == 8
    assert find_issues(labels, soft, counts=fewer).noise.wrong == pytest.approx(alone.noise.wrong)
    assert [count_issues(labels, soft, counts) for counts in (None, more, fewer)] == [5, 8, 5]


def test_counts_of_other_labels_are_refused():
    soft = np.tile([0.9, 0.1], (10, 1))
    with pytest.raises(DataError, match=r"the counts have shape \(2, 2\) and columns that sum to \[9.0, 1.0\], but"):
        find_issues(np.repeat([0, 1], 5), soft, counts=np.array([[9.0, 0.0], [0.0, 1.0]]))


def test_where_nothing_is_expected_to_be_wrong_the_margin_over_training_ranks():
    soft = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    margin = np.array([2.0, -1.0, 0.5])
    table = find_issues([0, 1, 0], soft, mean_given=np.array([0.1, 0.9, 0.5]), mean_margin=margin)
    assert table.quality.argsort().tolist() == [1, 2, 0]
    np.testing.assert_allclose(table.quality, np.exp(margin) / (1 + np.exp(margin)), rtol=1e-6)
    doubted = np.array([[0.4, 0.6], [0.0, 1.0], [1.0, 0.0]], np.float32)  # 0.6 labels are expected to be wrong
    table = find_issues([0, 1, 0], doubted, mean_given=np.array([0.1, 0.9, 0.5]), mean_margin=margin)
    np.testing.assert_allclose(table.quality, [0.2, np.sqrt(0.9), np.sqrt(0.5)], rtol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.05, 20))
@settings(max_examples=30)
def test_calibrated_rows_flag_as_many_as_are_wrong(seed, k, concentration):
    """With the true label drawn from q, the number wrong has mean N and variance sum q(1-q): five deviations hold."""
    rng = np.random.default_rng(seed)
    n = 2000
    soft = rng.dirichlet(np.full(k, concentration), n)
    truth = (rng.random(n)[:, None] > soft.cumsum(1)).sum(1).clip(max=k - 1)
    labels = rng.integers(0, k, n)
    table = find_issues(labels, soft)
    p = soft[np.arange(n), labels]
    assert abs(table.is_issue.sum() - (labels != truth).sum()) < 5 * np.sqrt((p * (1 - p)).sum()) + 1


@given(st.integers(0, 10_000), st.integers(1, 60))
@settings(max_examples=40)
def test_equals_a_twin_that_takes_one_at_a_time(seed, n):
    rng = np.random.default_rng(seed)
    p, agrees = rng.random(n).astype(np.float32), rng.random(n) < 0.5
    quality = rng.random(n)
    left = sorted(range(n), key=lambda i: (agrees[i], quality[i]))
    expected = set(left[: round(sum(1 - float(v) for v in p))])
    assert set(np.flatnonzero(flag((1 - p.astype(float)).sum(), agrees, quality))) == expected


def test_sure_and_right_labels_raise_no_flag_and_sure_and_wrong_ones_all():
    right, wrong = np.full(1000, 0.9999), np.full(1000, 1e-4)
    assert not flag((1 - right).sum(), right > 0.5, right).any()
    assert flag((1 - wrong).sum(), wrong > 0.5, wrong).all()


def test_where_more_are_expected_than_differ_the_rest_is_doubted_without_a_better_label():
    p = np.full(100, 0.6)  # every label is the likeliest, and 40 of 100 are wrong
    assert flag((1 - p).sum(), np.ones(100, bool), np.arange(100.0)).nonzero()[0].tolist() == list(range(40))


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_rows(n):
    p = np.full(n, 0.2)
    assert flag((1 - p).sum(), p > 0.5, p).sum() == n


def table(n=200, k=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    dynamics = LearningDynamics(torch.randint(0, k, (n,), generator=g))
    for _ in range(3):
        dynamics.update(torch.randn(n, k, generator=g).mul(2).softmax(-1), torch.ones(n, dtype=torch.bool))
    return label_table(torch.randn(n, k, generator=g).softmax(-1), dynamics)


@pytest.mark.parametrize("seed", range(5))
def test_the_count_is_that_of_the_flags(seed):
    g = np.random.default_rng(seed)
    soft, labels = g.dirichlet(np.full(7, 0.3), 90).astype(np.float32), g.integers(0, 7, 90)
    assert count_issues(labels, torch.from_numpy(soft)) == find_issues(labels, soft).is_issue.sum() > 30


def test_ranking_measures_equal_scikit_learn_with_low_as_bad():
    found, truth = table(), np.random.default_rng(0).integers(0, 4, 200)
    measured, wrong = compare_with_truth(found, truth), found.given != truth
    assert measured["auroc"] == pytest.approx(roc_auc_score(wrong, 1 - found.quality))
    assert measured["average_precision"] == pytest.approx(average_precision_score(wrong, 1 - found.quality))


def test_shares_equal_a_count_by_hand_and_unknown_truth_does_not_count():
    found, truth = table(), np.random.default_rng(1).integers(0, 4, 200)
    truth[:50] = -1
    measured = compare_with_truth(found, truth)
    rows = [(g, r, t) for g, r, t in zip(found.given, found.refined, truth, strict=True) if t >= 0]
    wrong = [row for row in rows if row[0] != row[2]]
    right = [row for row in rows if row[0] == row[2]]
    assert measured["examples"] == 150
    assert measured["given_right"] == pytest.approx(len(right) / 150)
    assert measured["wrong_set_right"] == pytest.approx(sum(r == t for _, r, t in wrong) / len(wrong))
    assert measured["right_spoiled"] == pytest.approx(sum(r != t for _, r, t in right) / len(right))
    flagged = [row for row, issue in zip(rows, found.is_issue[50:], strict=True) if issue]
    assert measured["flagged_precision"] == pytest.approx(sum(g != t for g, _, t in flagged) / len(flagged))


def test_all_right_gives_no_auroc_and_no_share_of_nothing():
    found = table()
    measured = compare_with_truth(found, found.given.copy())
    assert measured["given_right"] == 1
    assert "auroc" not in measured
    assert "wrong_set_right" not in measured


def test_table_rows_sum_to_one_and_flags_are_as_many_as_expected():
    found = table()
    np.testing.assert_allclose(found.distribution.sum(1), 1, rtol=1e-6)
    assert found.is_issue.sum() == np.rint((1 - found.p_given.astype(float)).sum())
    assert found.quality.min() >= 0
    assert found.quality.max() <= 1
