"""Predicted curves: naive twin, 2,000 explicit steps, bounds."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import Flow, one_hot, predicted_curves
from selfdistill.air._flow import checked_labels
from selfdistill.theory import Spectrum


def stepped(gram, y, time, steps=4000):
    f = torch.zeros_like(y)
    for _ in range(steps):
        f = f - time / steps * gram @ (f - y)
    return f


def test_small_explicit_steps_and_bounds(gram, labels):
    given = labels.clone()
    given[:6] = (given[:6] + 1) % 3
    y, truth = one_hot(given, 3), one_hot(labels, 3)
    times = torch.tensor([0.02, 0.1, 0.5])
    curves = predicted_curves(Flow(Spectrum.of(gram), y), times, given, labels)
    part = predicted_curves(Flow(Spectrum.of(gram, k=9), y), times, given, labels)
    for i, time in enumerate(times.tolist()):
        f = stepped(gram, y, time)
        values = {
            "agreement": (f.argmax(1) == given).double().mean(),
            "accuracy": (f.argmax(1) == labels).double().mean(),
            "loss": 0.5 * (f - y).square().sum(1).mean(),
            "distance": (f - truth).square().sum(1).mean().sqrt(),
        }
        for name, value in values.items():
            curve, bounded = getattr(curves, name), getattr(part, name)
            assert float(curve.low[i]) == pytest.approx(float(value), abs=2e-3)
            assert curve.width[i] < 1e-12
            assert bounded.low[i] - 1e-3 <= value <= bounded.high[i] + 1e-3
    assert part.agreement.width[2] > 0


def test_reading_a_curve(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    curves = predicted_curves(flow, torch.tensor([0.1, 1.0]), labels)
    assert curves.accuracy is None
    assert curves.at(0.1)["agreement"] == pytest.approx(float(curves.agreement.low[0]))
    assert set(curves.at(0.5)) == {"agreement", "loss"}
    assert curves.at(5.0) == curves.at(1.0)
    part = predicted_curves(Flow(Spectrum.of(gram, k=5), one_hot(labels, 3)), torch.tensor([0.1, 1.0]), labels)
    assert part.bounds_at(1.0)["loss"] == (part.loss.low[1], part.loss.high[1])
    assert part.bounds_at(1.0)["loss"].width > 0


def test_labels_that_do_not_fit(gram, labels):
    flow = Flow(Spectrum.of(gram), one_hot(labels, 3))
    with pytest.raises(DataError, match=r"truth has shape \(3,\).*one label per example"):
        checked_labels(labels[:3], flow, "truth")
    with pytest.raises(SettingError, match="given labels holds a label outside 0 to 2"):
        predicted_curves(flow, torch.tensor([1.0]), labels + 1)
