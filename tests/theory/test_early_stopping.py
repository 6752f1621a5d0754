"""Risk of early stopping against draws of noise; its minimum against a fine grid."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum, best_stopping_time, early_stopping_risk, gradient_flow


def test_binary_flips_have_the_textbook_risk(clusters):
    spectrum, truth, _ = clusters
    rho, t = 0.3, torch.tensor([0.0, 0.05, 0.5, 20.0], dtype=torch.float64)
    a, s = spectrum.coefficients(truth), 1 - torch.exp(-spectrum.values * t[:, None])
    expected = (a**2 * (1 - (1 - 2 * rho) * s) ** 2).sum(1) + 4 * rho * (1 - rho) * (s**2).sum(1)
    found = early_stopping_risk(spectrum, truth, t, (1 - 2 * rho) * truth, 4 * rho * (1 - rho))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    forever = early_stopping_risk(spectrum, truth, math.inf, (1 - 2 * rho) * truth, 4 * rho * (1 - rho))
    assert float(forever) == pytest.approx(4 * rho * 400, rel=1e-9)


def test_one_draw_of_the_clusters(clusters):
    """Known of such data: 12.3 at best, 21.909 without stopping; 8 directions hold .975 of truth, .293 of raw noise."""
    spectrum, truth, given_labels = clusters
    time, risk = best_stopping_time(spectrum, truth, given_labels, 0.0)
    assert risk**0.5 == pytest.approx(12.3, abs=0.05)
    f = gradient_flow(spectrum, given_labels, [time, math.inf])
    assert float((f[0] - truth).norm()) == pytest.approx(risk**0.5, rel=1e-12)
    assert float((f[1] - truth).norm()) == pytest.approx(21.909, abs=5e-4)
    assert float((f[1] * truth > 0).double().mean()) == pytest.approx(0.7)
    assert float((f[0] * truth > 0).double().mean()) > 0.99

    def energy(z):
        return float((spectrum.coefficients(z)[:8] ** 2).sum() / (z**2).sum())

    assert energy(truth) == pytest.approx(0.975, abs=0.005)
    assert energy(given_labels - truth) == pytest.approx(0.293, abs=0.005)
    assert spectrum.values[[0, 7, 8]].tolist() == pytest.approx([28.5, 10.6, 1.3], rel=0.05)


def test_risk_of_classes_is_the_mean_over_draws():
    """4,000 draws of labels from an uneven transition matrix; the standard error is about 0.3 %."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(30, 5, generator=g, dtype=torch.float64)
    spectrum, labels = Spectrum.of(x @ x.T + 0.3 * torch.eye(30)), torch.arange(30) % 3
    transition = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]], dtype=torch.float64)
    truth = torch.eye(3, dtype=torch.float64)[labels]
    draws = torch.multinomial(transition[labels], 4000, replacement=True, generator=g)  # [30, draws]
    one_hot = torch.eye(3, dtype=torch.float64)[draws]
    f = gradient_flow(spectrum, one_hot.reshape(30, -1), [0.02, 0.3, 5.0]).reshape(3, 30, 4000, 3)
    measured = ((f - truth[:, None]) ** 2).sum((1, 3)).mean(1)
    expected, variance = transition[labels], 1 - (transition[labels] ** 2).sum(1)
    found = early_stopping_risk(spectrum, truth, [0.02, 0.3, 5.0], expected, variance)
    torch.testing.assert_close(found, measured, rtol=0.01, atol=0)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), variance=st.floats(0.0, 5.0))
def test_the_best_time_beats_a_fine_grid(seed, variance):
    g = torch.Generator().manual_seed(seed)
    spectrum = Spectrum.of(torch.diag(torch.rand(6, generator=g, dtype=torch.float64) ** 4 + 1e-3))
    truth, expected = torch.randn(2, 6, 2, generator=g, dtype=torch.float64)
    time, risk = best_stopping_time(spectrum, truth, expected, variance)
    grid = torch.cat([torch.tensor([0.0, math.inf]), torch.logspace(-4, 6, 5000)]).double()
    assert risk <= float(early_stopping_risk(spectrum, truth, grid, expected, variance).min()) * (1 + 1e-9)
    assert float(early_stopping_risk(spectrum, truth, time, expected, variance)) == pytest.approx(risk, rel=1e-12)


def test_without_noise_never_stop_and_without_signal_never_start():
    spectrum, truth = Spectrum.of(torch.eye(3)), torch.tensor([1.0, 2.0, 3.0])
    assert best_stopping_time(spectrum, truth, truth, 0.0) == (math.inf, 0.0)
    assert best_stopping_time(spectrum, 0 * truth, truth, 1.0) == (0.0, 0.0)
    assert best_stopping_time(Spectrum.of(torch.zeros(3, 3)), truth, truth, 1.0) == (0.0, 14.0)


def test_what_does_not_fit_is_refused():
    spectrum, y = Spectrum.of(torch.eye(3)), torch.ones(3, 2)
    with pytest.raises(DataError, match=r"expected has shape \(3,\), but truth has \(3, 2\)"):
        early_stopping_risk(spectrum, y, 1.0, torch.ones(3), 1.0)
    with pytest.raises(SettingError, match=r"variance has shape \(2,\).*but must be one number or \[3\]"):
        best_stopping_time(spectrum, y, y, torch.ones(2))
    with pytest.raises(SettingError, match=r"least value -1, but must be .* 0 or more"):
        best_stopping_time(spectrum, y, y, -1.0)
    with pytest.raises(SettingError, match="has 1 of 3 eigenpairs"):
        best_stopping_time(spectrum.leading(1), y, y, 1.0)
