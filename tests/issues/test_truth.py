"""Measures against sklearn's on random findings, and against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from selfdistill.issues import LearningDynamics, compare_with_truth, label_table


def table(n=200, k=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    dynamics = LearningDynamics(torch.randint(0, k, (n,), generator=g))
    for _ in range(3):
        dynamics.update(torch.randn(n, k, generator=g).mul(2).softmax(-1), torch.ones(n, dtype=torch.bool))
    return label_table(torch.randn(n, k, generator=g).softmax(-1), dynamics)


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
