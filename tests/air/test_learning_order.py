"""Retrieval times: closed form on diagonal kernels, bounds, noise later than signal."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.air import Flow, default_times, learning_order, one_hot
from selfdistill.theory import Spectrum

GRID = torch.logspace(-3, 3, 500).double()


def test_closed_form():
    rates = torch.tensor([5.0, 3.0, 1.0, 0.01])
    labels = torch.tensor([0, 1, 0, 1])
    flow = Flow(Spectrum.of(torch.diag(rates)), one_hot(labels, 2))
    order = learning_order(flow, GRID, labels, level=0.5)
    torch.testing.assert_close(order.per_example.low, math.log(2) / rates.double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(order.per_class.high, math.log(2) / torch.tensor([5.0, 3.0]).double(), rtol=1e-3, atol=0)
    never = learning_order(flow, GRID[:300], labels, level=0.5).per_example.low
    assert never.isinf().tolist() == [False, False, False, True]


def test_bounds_hold_the_whole_spectrums_times(gram, labels):
    y = one_hot(labels, 3)
    whole = learning_order(Flow(Spectrum.of(gram), y), GRID, labels)
    part = learning_order(Flow(Spectrum.of(gram, k=10), y), GRID, labels)
    assert (part.per_example.low <= whole.per_example.low * (1 + 1e-9)).all()
    assert (whole.per_example.high <= part.per_example.high * (1 + 1e-9)).all()
    assert (part.per_class.low <= part.per_class.high).all()


def test_on_digits_wrong_labels_are_learned_later(digits):
    spectrum, truth, given = digits
    flow = Flow(spectrum.leading(600), one_hot(given, 10))
    times = default_times(flow.spectrum, 40)
    found = learning_order(flow, times, given).per_example.low
    right, wrong = found[given == truth].median(), found[given != truth].median()
    assert wrong > 30 * right


def test_what_is_refused(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    with pytest.raises(SettingError, match="level is 1"):
        learning_order(flow, GRID, labels, level=1)
    with pytest.raises(SettingError, match="do not increase"):
        learning_order(flow, GRID.flip(0), labels)
