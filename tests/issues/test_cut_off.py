"""The cut-off against draws from the distributions it reads: then the number flagged estimates the number wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.issues import find_issues, flag


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
