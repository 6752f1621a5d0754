"""Predictions of a fixed kernel: naive twins, explicit steps, closed forms on diagonal kernels."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import Flow
from selfdistill.air._flow import learning_order
from selfdistill.air._measures import one_hot
from selfdistill.theory import Spectrum

# -- flow --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.0, 0.03, 0.5, 10.0])
def test_outputs_are_those_of_the_matrix_exponential(gram, labels, time):
    y, start = one_hot(labels, 3), torch.full((30, 3), 0.2).double()
    for k in (30, 20, 8, 2):
        spectrum = Spectrum.of(gram, k=k)
        cut = spectrum.vectors * spectrum.values @ spectrum.vectors.T  # missing directions are never learned
        expected = y + torch.linalg.matrix_exp(-cut * time) @ (start - y)
        torch.testing.assert_close(Flow(spectrum, y, start).at(time), expected)


def test_times_reach_from_before_the_first_direction_to_after_the_last(gram):
    spectrum = Spectrum.of(gram, k=6)
    times = Flow(spectrum, torch.zeros(spectrum.size, 1)).times()
    assert float(times[0] * spectrum.values[0]) == pytest.approx(0.03)
    assert float(times[-1] * spectrum.values[-1]) == pytest.approx(10)


def test_what_is_refused(gram):
    with pytest.raises(DataError, match=r"targets have shape \(29, 3\) for 30 examples"):
        Flow(Spectrum.of(gram), torch.zeros(29, 3))
    with pytest.raises(DataError, match=r"start have shape \(30, 2\)"):
        Flow(Spectrum.of(gram), torch.zeros(30, 3), torch.zeros(30, 2))
    with pytest.raises(DataError, match="the kernel is zero"):
        Flow(Spectrum.of(torch.zeros(2, 2)), torch.eye(2)).times()


# -- curves ------------------------------------------------------------------------------------------------------------


def stepped(gram, y, time, steps=4000):
    f = torch.zeros_like(y)
    for _ in range(steps):
        f = f - time / steps * gram @ (f - y)
    return f


def test_small_explicit_steps(gram, labels):
    given = labels.clone()
    given[:6] = (given[:6] + 1) % 3
    y, truth = one_hot(given, 3), one_hot(labels, 3)
    times = torch.tensor([0.02, 0.1, 0.5])
    curves = Flow(Spectrum.of(gram), y).curves(times, given, labels)
    for i, time in enumerate(times.tolist()):
        f = stepped(gram, y, time)
        values = {
            "agreement": (f.argmax(1) == given).double().mean(),
            "accuracy": (f.argmax(1) == labels).double().mean(),
            "loss": 0.5 * (f - y).square().sum(1).mean(),
            "distance": (f - truth).square().sum(1).mean().sqrt(),
        }
        for name, value in values.items():
            assert float(getattr(curves, name)[i]) == pytest.approx(float(value), abs=2e-3)


def test_reading_a_curve(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    curves = flow.curves(torch.tensor([0.1, 1.0]), labels)
    assert curves.accuracy is None
    assert curves.at(0.1)["agreement"] == pytest.approx(float(curves.agreement[0]))
    assert set(curves.at(0.5)) == {"agreement", "loss"}
    assert curves.at(5.0) == curves.at(1.0)


def test_labels_that_do_not_fit(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    with pytest.raises(DataError, match=r"truth has shape \(3,\).*one label per example"):
        flow.checked(labels[:3], "truth")
    with pytest.raises(SettingError, match="given labels holds a label outside 0 to 2"):
        flow.curves(torch.tensor([1.0]), labels + 1)


# -- learning order ----------------------------------------------------------------------------------------------------


GRID = torch.logspace(-3, 3, 500).double()


def test_closed_form():
    rates = torch.tensor([5.0, 3.0, 1.0, 0.01])
    labels = torch.tensor([0, 1, 0, 1])
    flow = Flow(Spectrum.of(torch.diag(rates)), one_hot(labels, 2))
    order = learning_order(flow, GRID, labels, level=0.5)
    torch.testing.assert_close(order.per_example, math.log(2) / rates.double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(order.per_class, math.log(2) / torch.tensor([5.0, 3.0]).double(), rtol=1e-3, atol=0)
    never = learning_order(flow, GRID[:300], labels, level=0.5).per_example
    assert never.isinf().tolist() == [False, False, False, True]


def test_on_digits_wrong_labels_are_learned_later(digits):
    spectrum, truth, given = digits
    flow = Flow(spectrum.leading(600), one_hot(given, 10))
    times = flow.times(40)
    found = learning_order(flow, times, given).per_example
    right, wrong = found[given == truth].median(), found[given != truth].median()
    assert wrong > 30 * right


def test_what_is_refused_learning_order(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    with pytest.raises(SettingError, match="level is 1"):
        learning_order(flow, GRID, labels, level=1)
    with pytest.raises(SettingError, match="do not increase"):
        learning_order(flow, GRID.flip(0), labels)
