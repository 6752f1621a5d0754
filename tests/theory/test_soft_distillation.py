"""Distilling soft outputs: a change of time, a lag and a memory, each against small explicit steps."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import SettingError
from selfdistill.theory import (
    Spectrum,
    averaged_distillation,
    effective_time,
    gradient_descent,
    gradient_flow,
    lagged_distillation,
    soft_distillation,
)


def test_the_instant_soft_target_only_changes_time(small, rk4):
    """The differential equation with its soft target, followed step by step, ends where flow is at time tau."""
    spectrum, gram, y, f0 = small
    own = torch.linspace(0, 0.99, 40, dtype=torch.float64)
    f = f0
    for a in own.tolist():
        f = rk4(lambda f, t, a=a: -gram @ (f - (1 - a) * y - a * f), f, 0.5, steps=25)
    tau = effective_time(own, 0.5)
    torch.testing.assert_close(f, gradient_flow(spectrum, y, tau[-1], f0), rtol=0, atol=1e-10)
    assert float(tau[-1]) == pytest.approx(0.5 * float((1 - own).sum()))
    assert len(tau) == 40


def test_steps_with_a_soft_target(small):
    spectrum, gram, y, f0 = small
    own = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f, seen = f0, [f0]
    for a in own.tolist():
        f = f + 0.9 * gram @ ((1 - a) * y + a * f - f)
        seen.append(f)
    found = soft_distillation(spectrum, y, 0.9, own, [1000, 0, 3], f0)
    torch.testing.assert_close(found, torch.stack([seen[1000], seen[0], seen[3]]), rtol=0, atol=1e-12)
    torch.testing.assert_close(soft_distillation(spectrum, y, 0.9, own, start=f0), found[0])
    plain = soft_distillation(spectrum, y, 0.9, torch.zeros(50))
    torch.testing.assert_close(plain, gradient_descent(spectrum, y, 0.9, 50), rtol=0, atol=1e-12)


def test_the_lag_is_training_on_the_last_epochs_outputs(small, rk4):
    spectrum, gram, y, f0 = small
    f, seen = f0, []
    for _ in range(4):
        target = 0.3 * y + 0.7 * f
        f = rk4(lambda f, t, target=target: -gram @ (f - target), f, 6.0, steps=250)
        seen.append(f)
    found = lagged_distillation(spectrum, y, 6.0, 0.3, [1, 2, 3, 4], f0)
    torch.testing.assert_close(found, torch.stack(seen), rtol=0, atol=2e-8)


def test_a_long_lag_removes_the_order_and_a_short_one_is_time(small):
    spectrum, _, y, _ = small
    long = lagged_distillation(spectrum, y, 1e6, 0.3, 5)
    torch.testing.assert_close(long, (1 - 0.7**5) * y, rtol=1e-12, atol=0)
    short = lagged_distillation(spectrum, y, 1e-5, 0.3, 10**6)
    torch.testing.assert_close(short, gradient_flow(spectrum, y, 3.0), rtol=0, atol=1e-4)
    assert torch.equal(lagged_distillation(spectrum, y, 1.0, 0.0, math.inf), torch.zeros_like(y))
    torch.testing.assert_close(lagged_distillation(spectrum, y, 1.0, 1.0, math.inf), y)
    torch.testing.assert_close(lagged_distillation(spectrum, y, 1e6, 1.0, [0, 2])[1], y)


@pytest.mark.parametrize(("alpha", "theta"), [(0.3, 4.0), (0.0, 0.7), (1.0, 0.5), (0.6, 500.0)])
def test_the_running_mean_is_a_system_of_two(small, rk4, alpha, theta):
    spectrum, gram, y, f0 = small

    def slope(state, t):
        f, g = state
        return torch.stack([-gram @ (f - alpha * y - (1 - alpha) * g), (f - g) / theta])

    end = rk4(slope, torch.stack([f0, f0]), 20.0)[0]
    found = averaged_distillation(spectrum, y, [0.0, 20.0], alpha, theta, f0)
    torch.testing.assert_close(found[0], f0)
    torch.testing.assert_close(found[1], end, rtol=0, atol=1e-7)


def test_limits_of_the_running_mean(small):
    spectrum, _, y, f0 = small
    torch.testing.assert_close(averaged_distillation(spectrum, y, 1e7, 0.2, 3.0, f0), y)
    quick = averaged_distillation(spectrum, y, 9.0, 0.2, 1e-9)
    torch.testing.assert_close(quick, gradient_flow(spectrum, y, 1.8), rtol=0, atol=1e-7)
    double = Spectrum.of(torch.eye(2))  # both eigenvalues of the system are -1
    found = averaged_distillation(double, torch.ones(2), 2.0, 1.0, 1.0)
    torch.testing.assert_close(found, torch.full((2,), -math.expm1(-2.0), dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, y: soft_distillation(s, y, 0.5, torch.zeros(3), 4), "steps go up to 4, but own_weight has 3"),
        (lambda s, y: soft_distillation(s, y, 0.5, torch.tensor([1.5])), r"must be a list of shares in \[0, 1\]"),
        (lambda s, y: soft_distillation(s, y, 3.0, torch.zeros(3)), "lr is 3, but must be above 0 and at most"),
        (lambda s, y: effective_time(torch.zeros(2, 2), 1.0), r"own_weight has shape \(2, 2\)"),
        (lambda s, y: lagged_distillation(s, y, 1.0, 1.2, 3), r"given_weight is 1.2, but must be in \[0, 1\]"),
        (lambda s, y: lagged_distillation(s, y, 0.0, 0.2, 3), "epoch is 0, but must be above 0"),
        (lambda s, y: averaged_distillation(s, y, math.inf, 0.2, 3.0), "time or memory is infinite"),
    ],
)
def test_bad_settings_are_refused(small, call, words):
    with pytest.raises(SettingError, match=words):
        call(small[0], small[2])
