"""Matrices against loops, against known noise, and by what must sum to what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.issues import find_issues
from selfdistill.issues._northcutt2021joint import NoiseEstimate


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 5), st.integers(1, 200))
@settings(max_examples=40)
def test_counts_equal_a_loop_over_examples_whatever_the_block(seed, n, k, block_bytes):
    rng = np.random.default_rng(seed)
    soft, labels = rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)
    expected = np.zeros((k, k))
    for q, y in zip(soft, labels, strict=True):
        for c in range(k):
            expected[c, y] += q[c]
    noise = find_issues(labels, soft, block_bytes=block_bytes).noise
    np.testing.assert_allclose(noise.counts, expected, atol=1e-5)
    np.testing.assert_allclose(noise.counts.sum(0), np.bincount(labels, minlength=k), atol=1e-4)
    assert noise.wrong == pytest.approx(sum(1 - q[y] for q, y in zip(soft, labels, strict=True)), abs=1e-3)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=40)
def test_matrices_are_the_joint_s_conditionals(seed, k):
    rng = np.random.default_rng(seed)
    noise = NoiseEstimate(rng.random((k, k)) * 50 + 1)
    np.testing.assert_allclose(noise.joint.sum(), 1)
    np.testing.assert_allclose(noise.noise_matrix * noise.clean_share[:, None], noise.joint)
    np.testing.assert_allclose(noise.inverse * noise.given_share[:, None], noise.joint.T)
    np.testing.assert_allclose(noise.noise_matrix.T @ noise.clean_share, noise.given_share)
    assert noise.health == pytest.approx(1 - noise.wrong / noise.counts.sum())


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=40)
def test_whole_numbers_keep_the_columns_sums_and_move_no_cell_by_one(seed, k):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, 50)
    noise = find_issues(labels, rng.dirichlet(np.ones(k), 50)).noise
    whole = noise.confident_joint()
    assert whole.dtype == np.int64
    assert whole.sum(0).tolist() == np.bincount(labels, minlength=k).tolist()
    assert np.abs(whole - noise.counts).max() < 1


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=40)
def test_whole_numbers_are_those_of_largest_remainders(seed, k):
    counts = np.random.default_rng(seed).random((k, k)) * 9
    counts[0] += np.ceil(counts.sum(0)) - counts.sum(0)  # a column sums to the number of its labels
    expected = []
    for column in counts.T.tolist():
        seats = [int(x) for x in column]
        while sum(seats) < round(sum(column)):
            most = max(range(k), key=lambda c: column[c] - seats[c])
            seats[most] += 1
        expected.append(seats)
    assert NoiseEstimate(counts).confident_joint().T.tolist() == expected


def test_a_known_matrix_comes_back_from_one_hot_truth():
    rng = np.random.default_rng(0)
    T = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])
    truth = rng.integers(0, 3, 60_000)
    labels = (rng.random(60_000)[:, None] > T.cumsum(1)[truth]).sum(1).clip(max=2)
    noise = find_issues(labels, np.eye(3)[truth]).noise
    np.testing.assert_allclose(noise.noise_matrix, T, atol=0.01)


def test_a_class_never_predicted_falls_back_to_no_noise_and_is_named():
    noise = NoiseEstimate(np.array([[5.0, 2.0, 1.0], [0.0, 3.0, 0.1], [0.1, 0.2, 0.0]]))
    assert noise.unseen.tolist() == [2]
    assert noise.noise_matrix[2].tolist() == [0, 0, 1]
    np.testing.assert_allclose(noise.noise_matrix.sum(1), 1)


def test_a_label_that_nobody_gave_has_no_noise_in_the_inverse():
    noise = NoiseEstimate(np.array([[5.0, 0.0], [1.0, 0.0]]))
    assert noise.inverse[1].tolist() == [0, 1]
    assert noise.unseen.tolist() == []


def test_overlap_lists_pairs_by_what_they_swap():
    noise = NoiseEstimate(np.array([[9.0, 1.0, 4.0], [2.0, 9.0, 0.5], [0.0, 0.0, 9.0]]))
    assert noise.overlap() == [(0, 2, 4.0), (0, 1, 3.0), (1, 2, 0.5)]
    assert noise.overlap(1) == [(0, 2, 4.0)]
