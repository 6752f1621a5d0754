from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.air import effective_ranks
from selfdistill.theory import Spectrum


def test_closed_forms():
    found = effective_ranks(Spectrum.of(torch.diag(torch.tensor([4.0, 2.0, 2.0]))))
    assert float(found["entropy"].low) == pytest.approx(2 ** (0.5 + 2 * 0.25 * 2), rel=1e-6)
    assert float(found["participation"].low) == pytest.approx(1 / (0.25 + 2 / 16), rel=1e-6)
    assert float(found["stable"].low) == pytest.approx(2)
    one = effective_ranks(Spectrum.of(torch.ones(5, 5)))
    assert all(float(rank.high) == pytest.approx(1, abs=1e-4) for rank in one.values())


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=9), st.integers(1, 3))
def test_bounds_hold_the_whole_spectrums_ranks(values, k):
    gram = torch.diag(torch.tensor(values, dtype=torch.float64))
    whole, part = effective_ranks(Spectrum.of(gram)), effective_ranks(Spectrum.of(gram, k=k))
    for name, rank in whole.items():
        assert rank.low * (1 - 1e-5) <= part[name].high
        assert part[name].low <= rank.high * (1 + 1e-5)
    assert math.isclose(whole["stable"].low, part["stable"].low, rel_tol=1e-6)


def test_bounds_are_reached_by_the_least_and_the_most_even_rest():
    packed, even = torch.tensor([4.0, 2.0, 2.0, 2.0, 0.0, 0.0]), torch.tensor([4.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    for values, side in ((packed, 0), (even, 1)):
        whole, part = (effective_ranks(Spectrum.of(torch.diag(values), k=k)) for k in (6, 2))
        for name in ("entropy", "participation"):
            assert float(part[name][side]) == pytest.approx(float(whole[name].low), rel=1e-5)


def test_no_kernel():
    with pytest.raises(DataError, match="the kernel is zero"):
        effective_ranks(Spectrum.of(torch.zeros(2, 2)))
