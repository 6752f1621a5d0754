"""Label helpers against loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.labels import held_out, normalised, one_hot, pair_counts, symmetric_matrix


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(0, 30))
@settings(max_examples=20)
def test_rows_and_counts_equal_loops(seed, k, n):
    g = torch.Generator().manual_seed(seed)
    clean, labels = torch.randint(0, k, (2, n), generator=g)
    counts = [[0] * k for _ in range(k)]
    for row, c, j in zip(one_hot(labels, k).tolist(), clean.tolist(), labels.tolist(), strict=True):
        counts[c][j] += 1
        assert row == [float(i == j) for i in range(k)]
    assert pair_counts(clean, labels, k).tolist() == counts
    assert pair_counts(clean.int(), labels.short(), k).tolist() == counts
    rows = torch.rand(3, k, generator=g)
    torch.testing.assert_close(normalised(rows), torch.stack([row / row.sum() for row in rows]))


@pytest.mark.parametrize(("include_clean", "wrong"), [(False, 0.4), (True, 0.3)])
def test_symmetric_noise_is_wrong_as_often_as_its_protocol_says(include_clean, wrong):
    T = symmetric_matrix(4, 0.4, include_clean=include_clean)
    torch.testing.assert_close(T.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(1 - T.diagonal(), torch.full((4,), wrong, dtype=torch.float64))
    off = T[~torch.eye(4, dtype=torch.bool)]
    assert (off == off[0]).all()


def test_the_same_share_of_each_class_is_held_out():
    labels = torch.tensor([0] * 10 + [1] * 25 + [2] * 3)
    drawn, held = held_out(labels, 0.2, seed=1)
    assert torch.bincount(labels[held], minlength=3).tolist() == [2, 5, 0]
    assert torch.cat([drawn, held]).sort().values.tolist() == list(range(38))
    again = held_out(labels, 0.2, seed=1)[1]
    assert torch.equal(held, again)
    assert not torch.equal(held, held_out(labels, 0.2, seed=2)[1])
    assert held_out(labels, 0.0, seed=1)[0] is None
