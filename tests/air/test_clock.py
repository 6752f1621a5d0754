"""Kernel time: against gradient descent of a linear network, with momentum, and softmax near its start."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.air import Flow, per_step
from selfdistill.air._clock import Clock
from selfdistill.air._flow import Curves
from selfdistill.air._measures import one_hot
from selfdistill.theory import Spectrum


@pytest.fixture
def inputs():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).double()


def trained(inputs, y, loss, lr, steps, momentum=0.0):
    w = torch.zeros(6, y.shape[1], dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([w], lr, momentum=momentum)
    for _ in range(steps):
        out = inputs @ w
        value = 0.5 * (out - y).square().sum(1).mean() if loss == "squared" else -(y * out.log_softmax(1)).sum(1).mean()
        sgd.zero_grad()
        value.backward()
        sgd.step()
    return (inputs @ w).detach()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_squared_loss_runs_at_the_stated_rate(inputs, momentum):
    y, steps = one_hot(torch.arange(20) % 3, 3), 1000
    lr = 0.006 * (1 - momentum)
    kernel = Spectrum.of(3 * inputs @ inputs.T)  # the trace over three outputs of a linear map
    clock = Clock((lr,), steps, momentum)
    outputs = Flow(per_step(kernel, 3, loss="squared"), y).at(clock.times[-1])
    torch.testing.assert_close(outputs, trained(inputs, y, "squared", lr, steps, momentum), atol=1e-2, rtol=0)


def test_cross_entropy_runs_at_the_stated_rate_early_on(inputs):
    y, lr, steps = one_hot(torch.arange(20) % 3, 3), 0.005, 10
    kernel = Spectrum.of(3 * inputs @ inputs.T)
    flow = Flow(per_step(kernel, 3), y, torch.full((20, 3), 1 / 3).double())
    outputs = flow.at(lr * steps)
    moved = outputs - 1 / 3
    real = trained(inputs, y, "cross-entropy", lr, steps).softmax(1) - 1 / 3
    assert float((moved - real).norm() / real.norm()) < 0.02


@pytest.mark.parametrize(("output", "factor"), [("trace", 3.0), ("sum", 3.0), ("centered", 2.0), ("fisher", 2 / 3)])
def test_each_kernel_gives_the_rate_of_one_output(output, factor):
    one = torch.eye(4)
    assert per_step(Spectrum.of(factor * one), 3, loss="squared", output=output).values[0] == pytest.approx(0.25)


def test_epochs():
    clock = Clock.of_ends([0.2, 0.4, 0.0], steps=10, momentum=0.5)
    assert clock.lr == pytest.approx((0.2, 0.3, 0.2))
    assert clock.times.tolist() == pytest.approx([0, 4, 10, 14])
    assert clock.epoch_of(7.0) == pytest.approx(1.5)
    assert clock.epoch_of(99.0) == float("inf")


def test_one_factor_is_found_and_only_that():
    t = torch.logspace(-2, 3, 200).double()
    curves = Curves(t, 1 - torch.exp(-t), None, t, None)
    at = torch.linspace(0.1, 5, 30)
    fit = curves.fit_scale(at, 1 - torch.exp(-0.2 * at))
    since = at - 0.1
    means = 1 - (torch.exp(-0.6 * since) - torch.exp(-0.6 * at)) / 0.06
    assert curves.fit_scale(at, means, since).scale == pytest.approx(0.6, rel=0.02)
    assert fit.scale == pytest.approx(0.2, rel=0.02)
    assert fit.error < 2e-3 < fit.unscaled


def test_what_is_refused():
    with pytest.raises(SettingError, match=r"loss 'mse' with output 'trace'.*Choose of squared"):
        per_step(Spectrum.of(torch.eye(2)), 2, loss="mse")
    with pytest.raises(SettingError, match=r"momentum 1\.0"):
        Clock((0.1,), 1, 1.0)
    t = torch.tensor([1.0])
    with pytest.raises(SettingError, match="1 times, but 2 measurements"):
        Curves(t, t, None, t, None).fit_scale(t, torch.ones(2))
