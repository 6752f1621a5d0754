"""Predicted outputs against the matrix exponential; missing pairs within their bound."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.air import Flow, default_times, one_hot
from selfdistill.theory import Spectrum


@pytest.mark.parametrize("time", [0.0, 0.03, 0.5, 10.0])
def test_twin_and_bounds(gram, labels, time):
    y, start = one_hot(labels, 3), torch.full((30, 3), 0.2).double()
    expected = y + torch.linalg.matrix_exp(-gram * time) @ (start - y)
    outputs, radius = Flow(Spectrum.of(gram), y, start).at(time)
    torch.testing.assert_close(outputs, expected)
    assert radius.max() == 0
    for k in (2, 8, 20):
        outputs, radius = Flow(Spectrum.of(gram, k=k), y, start).at(time)
        assert ((outputs - expected).abs() <= radius + 1e-9).all()


def test_times_reach_from_before_the_first_direction_to_after_the_last(gram):
    spectrum = Spectrum.of(gram, k=6)
    times = default_times(spectrum)
    assert float(times[0] * spectrum.values[0]) == pytest.approx(0.03)
    assert float(times[-1] * spectrum.values[-1]) == pytest.approx(10)


def test_what_is_refused(gram):
    with pytest.raises(DataError, match=r"targets have shape \(29, 3\) for 30 examples"):
        Flow(Spectrum.of(gram), torch.zeros(29, 3))
    with pytest.raises(DataError, match=r"start have shape \(30, 2\)"):
        Flow(Spectrum.of(gram), torch.zeros(30, 3), torch.zeros(30, 2))
    with pytest.raises(DataError, match="the kernel is zero"):
        default_times(Spectrum.of(torch.zeros(2, 2)))
