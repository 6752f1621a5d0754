"""Blocks cover each row once, whatever their size; what is no distribution is refused by row and value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill import SelfDistillClassifier
from selfdistill._core.errors import DataError
from selfdistill.issues import find_issues
from selfdistill.issues._blocks import as_given, blocks, rows_per_block


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 6), st.integers(1, 400))
@settings(max_examples=40)
def test_blocks_put_together_are_the_rows_and_none_is_larger_than_asked(seed, n, k, block_bytes):
    soft = np.random.default_rng(seed).dirichlet(np.ones(k), n)
    parts = list(blocks(soft, block_bytes))
    np.testing.assert_allclose(np.concatenate([part for _, part in parts]), soft, rtol=1e-5)
    assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == list(range(n))
    assert all(len(part) == 1 or part.nbytes <= block_bytes for _, part in parts)


def test_tensors_and_sixteen_bits_are_taken_and_normalised():
    soft = torch.rand(7, 1000).softmax(-1)
    for rows in (soft, soft.half(), soft.half().numpy()):
        found = np.concatenate([part for _, part in blocks(rows, 4000 * 3)])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(found, soft.numpy(), rtol=2e-3)


def test_a_block_holds_at_least_one_row():
    assert rows_per_block(10_000, 8) == 1


def soft(row, value):
    out = np.full((5, 4), 0.25)
    out[row] = value
    return out


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (soft(3, 0.2), r"row 3 of the soft labels sums to 0\.8, but must sum to 1\. Pass probabilities: a softmax"),
        (soft(1, [np.nan, 0.5, 0.25, 0.25]), "row 1 of the soft labels sums to nan"),
        (soft(4, [np.inf, 0.5, 0.25, 0.25]), "row 4 of the soft labels sums to inf"),
        (soft(2, [1.5, -0.5, 0, 0]), r"row 2 of the soft labels holds -0\.5, but a probability is from 0 to 1"),
        ([[0.5, 0.5], [0.3]], "the soft labels are not a table of numbers: .*. Pass an array"),
        ([0.5, 0.5], r"shape \(2,\), but must have rows"),
        (np.full(5, 0.2), r"shape \(5,\), but must have rows and at least 2 columns"),
        (np.ones((5, 1)), r"shape \(5, 1\), but must have rows and at least 2 columns"),
    ],
)
def test_what_is_no_distribution_is_refused(rows, words):
    with pytest.raises(DataError, match=words):
        list(blocks(rows, 32))  # two rows a block: positions count over blocks
    with pytest.raises(DataError, match=words):
        find_issues([0] * len(rows), rows)
    with pytest.raises(DataError, match=words):
        SelfDistillClassifier().find_label_issues(labels=[0] * len(rows), pred_probs=rows)


def test_lists_are_taken_as_arrays_are():
    rows = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]
    assert find_issues([0, 1, 1], rows).is_issue.tolist() == find_issues([0, 1, 1], np.array(rows)).is_issue.tolist()
    assert SelfDistillClassifier().find_label_issues(labels=[0, 1, 1], pred_probs=rows)["is_label_issue"].sum() == 1


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1], r"soft labels have 3 rows, but the given labels have shape \(2,\)\. Pass one label for each row"),
        ([0, 1, 4], "the given label of row 2 is 4, but the soft labels have 4 classes, 0 to 3"),
        ([0, -1, 2], "the given label of row 1 is -1"),
        ([0.0, 1.0, 2.0], "type float64, but must be whole numbers. Encode them"),
        (["a", "b", "c"], "type <U1, but must be whole numbers"),
    ],
)
def test_labels_that_do_not_match_are_refused(labels, words):
    with pytest.raises(DataError, match=words):
        as_given(labels, 3, 4)
