"""Soft and settled self-distillation against integrated differential equations."""

from __future__ import annotations

import math

import pytest
import torch
from benchmarks.claims.closed_forms import settled_bound
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import (
    Spectrum,
    gradient_descent,
    gradient_flow,
    hard_distillation,
    settled_distillation,
    soft_distillation,
)

# -- soft distillation -------------------------------------------------------------------------------------------------


def test_the_instant_soft_target_only_changes_time(small, rk4):
    """The differential equation with its soft target, followed step by step, ends where flow is at time tau."""
    spectrum, gram, y, f0 = small
    own = torch.linspace(0, 0.99, 40, dtype=torch.float64)
    f = f0
    for a in own.tolist():
        f = rk4(lambda f, t, a=a: -gram @ (f - (1 - a) * y - a * f), f, 0.5, steps=25)
    tau = 0.5 * (1 - own).cumsum(0)
    torch.testing.assert_close(f, gradient_flow(spectrum, y, tau[-1], f0), rtol=0, atol=1e-10)


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


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, y: soft_distillation(s, y, 0.5, torch.zeros(3), 4), "steps go up to 4, but own_weight has 3"),
        (lambda s, y: soft_distillation(s, y, 0.5, torch.tensor([1.5])), r"must be a list of shares in \[0, 1\]"),
        (lambda s, y: soft_distillation(s, y, 3.0, torch.zeros(3)), "lr is 3, but must be above 0 and at most"),
    ],
)
def test_bad_settings_are_refused(small, call, words):
    with pytest.raises(SettingError, match=words):
        call(small[0], small[2])


# -- settled -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.05, 3.0])
def test_it_is_the_differential_equation(small, rk4, decay):
    spectrum, gram, y, f0 = small
    h = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def slope(f, t):
        alpha = 0.8 * math.exp(-decay * t)
        return -gram @ (f - alpha * y - (1 - alpha) * h)

    found = settled_distillation(spectrum, y, h, [0.0, 20.0], start=f0, given_weight=0.8, decay=decay)
    torch.testing.assert_close(found[0], f0)
    torch.testing.assert_close(found[1], rk4(slope, f0, 20.0), rtol=0, atol=1e-7)


def test_decay_at_an_eigenvalue_is_no_singularity(small):
    spectrum, _, y, f0 = small
    near, at, beyond = (
        settled_distillation(spectrum, y, -y, 7.0, start=f0, given_weight=0.5, decay=float(spectrum.values[4]) * c)
        for c in (1 - 1e-7, 1.0, 1 + 1e-7)
    )
    torch.testing.assert_close(at, (near + beyond) / 2, rtol=0, atol=1e-10)
    peak = 0.5 * (2 / 5) ** (2 / (5 - 2))  # of lambda = 5, g = 2: a0 (g / lambda)^(g / (lambda - g))
    times = torch.linspace(0, 3, 3001)
    alone = settled_distillation(
        Spectrum.of(torch.tensor([[5.0]])),
        torch.ones(1),
        torch.zeros(1),
        times,
        start=torch.zeros(1),
        given_weight=0.5,
        decay=2.0,
    )
    assert float(alone.max()) == pytest.approx(peak, rel=1e-6)


def test_limits(small):
    spectrum, _, y, f0 = small
    forever = settled_distillation(spectrum, y, -y, math.inf, start=f0, given_weight=0.3)
    torch.testing.assert_close(forever, 0.3 * y - 0.7 * y)
    gone = settled_distillation(spectrum, y, -y, math.inf, start=f0, given_weight=0.3, decay=0.01)
    torch.testing.assert_close(gone, -y)
    plain = settled_distillation(spectrum, y, -y, 3.0, start=f0, given_weight=1.0)
    torch.testing.assert_close(plain, gradient_flow(spectrum, y, 3.0, f0))


def test_it_is_what_hard_distillation_does_once_predictions_stay(clusters):
    """From time 0.15 on all predictions are right; the two-column run and the closed form then agree to the end."""
    spectrum, truth, labels = clusters
    begin = gradient_flow(spectrum, labels, 0.15)
    assert ((begin * truth) > 0).all()
    two = lambda z: torch.stack([(1 - z) / 2, (1 + z) / 2], 1)
    start = torch.stack([-begin / 2, begin / 2], 1)
    trace = hard_distillation(spectrum, two(labels), 0.5, 200, 0.75, flow=True, start=start)
    found = settled_distillation(spectrum, labels, truth, 100.0, start=begin, given_weight=0.25)
    torch.testing.assert_close(trace.outputs[-1][:, 1] - trace.outputs[-1][:, 0], found, rtol=0, atol=1e-10)
    assert (found * truth > 0).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 1), decay=st.floats(0, 10), time=st.floats(0, 50))
def test_the_bound_holds(seed, alpha, decay, time):
    g = torch.Generator().manual_seed(seed)
    spectrum = Spectrum.of(torch.diag(torch.rand(5, generator=g, dtype=torch.float64) * 3 + 1e-3))
    y, h, f0 = torch.randn(3, 5, 2, generator=g, dtype=torch.float64)
    how = {"start": f0, "given_weight": alpha, "decay": decay}
    distance = float((settled_distillation(spectrum, y, h, time, **how) - h).norm())
    assert distance <= float(settled_bound(spectrum, y, h, time, **how)) * (1 + 1e-9) + 1e-12


def test_the_bound_is_reached_where_all_directions_are_alike():
    spectrum, y = Spectrum.of(2.0 * torch.eye(4)), torch.ones(4)
    how = {"start": y, "given_weight": 0.4, "decay": 0.3}
    found = settled_bound(spectrum, y, 0 * y, [0.0, 1.0, 5.0], **how)
    exact = settled_distillation(spectrum, y, 0 * y, [0.0, 1.0, 5.0], **how).norm(dim=1)
    torch.testing.assert_close(found, exact)


def test_bad_settings_are_refused_settled(small):
    spectrum, _, y, f0 = small
    with pytest.raises(SettingError, match=r"given_weight is -0.1, but must be in \[0, 1\]"):
        settled_distillation(spectrum, y, y, 1.0, start=f0, given_weight=-0.1)
    with pytest.raises(SettingError, match="decay is -1, but must be 0 or more"):
        settled_distillation(spectrum, y, y, 1.0, start=f0, given_weight=0.1, decay=-1.0)
    with pytest.raises(DataError, match=r"start has shape \(12,\), but the targets have \(12, 3\)"):
        settled_distillation(spectrum, y, y, 1.0, start=f0[:, 0], given_weight=0.1)
