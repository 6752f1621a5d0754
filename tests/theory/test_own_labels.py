"""Labels kept up to date row by row against labels read off all outputs each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.theory._own_labels import HardLabels, SoftLabels


def basis(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), classes=st.integers(2, 5), size=st.floats(1e-4, 1.0))
def test_no_label_is_ever_missed(seed, n, classes, size):
    """Steps of any direction; a step along one row of V moves that row as far as the bound allows."""
    rng, vectors = np.random.default_rng(seed), basis(n, seed)
    outputs = rng.normal(size=(n, classes)).round(1)
    labels = HardLabels(vectors, outputs, rng.integers(0, classes, n))
    state = vectors.T @ outputs
    for k in range(40):
        row = rng.integers(n)
        push = np.outer(vectors[row], rng.normal(size=classes)) if k % 2 else rng.normal(size=state.shape) / n
        step = size * push
        state = state + step
        labels.moved(step)
        labels.look(state)
        current = vectors @ state
        top = np.sort(current, 1)
        clear = top[:, -1] - top[:, -2] > 1e-9
        assert (labels.classes == current.argmax(1))[clear].all()
    np.testing.assert_allclose(labels.coefficients, vectors.T @ np.eye(classes)[labels.classes], atol=1e-12)
    assert labels.agreement == (labels.classes == labels.given).mean()


def test_rows_with_margin_are_left_alone_until_it_may_be_used_up():
    outputs = np.array([[1.0, 0.0], [0.0, 0.3], [0.0, 0.0]])
    labels, state = HardLabels(np.eye(3), outputs, np.array([0, 1, 1])), outputs.copy()
    step = np.full((3, 2), 0.1 / 3**0.5)  # each column has norm 0.1, so two outputs differ by 0.2 more at most
    evaluated = []
    for _ in range(6):
        state += step
        labels.moved(step)
        labels.look(state)
        evaluated.append(labels.rows_evaluated)
    assert evaluated == [1, 3, 4, 6, 8, 10]  # the third always, the second from 0.3 on, the first from 1.0 on
    assert labels.flips == 0
    assert labels.agreement == pytest.approx(2 / 3)


def test_soft_labels_are_all_read_each_time():
    rng, vectors = np.random.default_rng(0), basis(5, 0)
    outputs, state = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    labels = SoftLabels(vectors, outputs, outputs.argmax(1), 0.5)
    assert labels.agreement == 1
    labels.moved(state)
    labels.look(state)
    e = np.exp(vectors @ state / 0.5)
    np.testing.assert_allclose(vectors @ labels.coefficients, e / e.sum(1, keepdims=True), atol=1e-12)
    assert labels.rows_evaluated == 5
    assert labels.flips == ((vectors @ state).argmax(1) != outputs.argmax(1)).sum()
