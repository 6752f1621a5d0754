"""Findings against the formulas of the docstring, written out per example."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.issues import LearningDynamics, label_table


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_every_column_equals_its_formula(seed, k, epochs):
    g = torch.Generator().manual_seed(seed)
    n = 6
    labels = torch.randint(0, k, (n,), generator=g)
    history = torch.randn(epochs, n, k, generator=g).mul(2).softmax(-1)
    refined = torch.rand(n, k, generator=g) + 0.01  # not yet normalised
    dynamics = LearningDynamics(labels)
    for mean in history:
        dynamics.update(mean, torch.ones(n, dtype=torch.bool))
    table = label_table(refined, dynamics)
    for i in range(n):
        row = (refined[i] / refined[i].sum()).tolist()
        y = int(labels[i])
        confidence = sum(float(p[i, y]) for p in history) / epochs
        assert table.refined[i] == row.index(max(row))
        assert table.is_issue[i] == (table.refined[i] != y)
        assert math.isclose(table.confidence[i], max(row), rel_tol=1e-5)
        assert math.isclose(table.quality[i], math.sqrt(row[y] * confidence), rel_tol=1e-4)
    np.testing.assert_allclose(table.distribution.sum(1), 1, rtol=1e-5)


def test_types_are_those_of_the_run_directory():
    dynamics = LearningDynamics(torch.tensor([0, 1]))
    dynamics.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([True, True]))
    table = label_table(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), dynamics)
    expected = {
        "quality": "float32",
        "is_issue": "bool",
        "first_learned": "int32",
        "forgotten": "int32",
        "given": "int64",
    }
    assert {name: getattr(table, name).dtype.name for name in expected} == expected
