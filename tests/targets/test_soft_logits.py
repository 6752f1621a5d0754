"""Sixteen-bit logits: within the stated tolerance at every temperature, where sixteen-bit probabilities are not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import SettingError
from selfdistill.targets import SoftLogits, choose_entries


def filled(z, k=None):
    store = SoftLogits(*z.shape, k=k)
    for view, logits in enumerate(z):
        for start in range(0, len(logits), 3):
            store.write(view, slice(start, start + 3), logits[start : start + 3])
    return store


def logits(seed, n=40, k=10, scale=8.0, views=2):
    return torch.randn(views, n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


@given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 4.0, 20.0]), st.sampled_from([2, 10, 300]))
def test_dense_is_within_its_tolerance_at_every_temperature(seed, t, k):
    z = logits(seed, k=k)
    store = filled(z)
    there = torch.arange(z.shape[1])
    for view in range(2):
        error = (store.probabilities(there, view, t) - (z[view] / t).softmax(-1)).abs().max()
        assert error < 1.01 * store.describe()["tolerance"] + 1e-5


def test_probabilities_in_sixteen_bits_would_not_do():
    z = torch.tensor([[[0.0, -18.0, -18.5, -19.0]]], dtype=torch.float64)
    exact = (z[0] / 4).softmax(-1)
    rounded = z[0].softmax(-1).half().double() ** 0.25
    rounded /= rounded.sum(-1, keepdim=True)
    assert (rounded - exact).abs().max() > 0.02
    assert (filled(z).probabilities(torch.tensor([0]), 0, 4.0) - exact).abs().max() < 1e-3


@pytest.mark.parametrize("k", [1, 2, 9])
def test_the_largest_few_and_the_rest_evenly(k):
    z = logits(3)
    store = filled(z, k)
    there = torch.arange(z.shape[1])
    found = store.probabilities(there, 1)
    for row, q in zip(found, z[1].softmax(-1), strict=True):
        order = q.argsort(descending=True).tolist()
        slow = q.clone()
        for c in order[k:]:
            slow[c] = sum(q[d] for d in order[k:]) / (10 - k)
        torch.testing.assert_close(row.double(), slow, rtol=0, atol=2e-3)
        assert row.argmax() == order[0]


def test_bytes_are_those_of_the_formula_and_few_entries_are_few():
    z = logits(0, n=100, k=300, views=3)
    assert filled(z).describe()["bytes"] == 2 * 3 * 100 * 300
    assert filled(z, 5).describe()["bytes"] == 3 * 100 * (4 * 5 + 2)
    assert filled(z[..., :200], 5).describe()["bytes"] == 3 * 100 * (3 * 5 + 2)


def test_certainty_and_impossibility_are_kept():
    z = torch.tensor([[[0.0, -torch.inf, -torch.inf]]])
    for k in (None, 1, 2):
        assert filled(z, k).probabilities(torch.tensor([0]), 0, 10.0).tolist() == [[1.0, 0.0, 0.0]]


def test_it_is_moved_but_not_in_checkpoints():
    store = filled(logits(0), 3)
    assert store.state_dict() == {}
    store.to("meta")
    assert {b.device.type for b in store.buffers()} == {"meta"}


def test_a_wrong_number_of_entries_is_refused_and_small_stores_are_dense():
    with pytest.raises(SettingError, match=r"5 logits of each example are to be kept, but there are 4 classes. Keep 1"):
        SoftLogits(1, 2, 4, k=5)
    assert choose_entries(10, 1000) is None
    assert choose_entries(2_000_000, 1000) == 10
