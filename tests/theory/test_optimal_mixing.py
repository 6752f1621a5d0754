"""The best mixing weight against students that are trained with others, and its closed forms against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import (
    Spectrum,
    expected_optimal_mixing,
    extend,
    generations,
    optimal_mixing,
    relu_kernel,
    ridge,
)


@pytest.mark.parametrize("how", [{"time": 4.0}, {"time": 0.1}, {"penalty": 0.3}])
def test_no_other_weight_is_better(small, how):
    spectrum, _, y, clean = small

    def risk(xi):
        student = generations(spectrum, y, 1, given_weight=1 - xi, **how)
        return float(((student - clean) ** 2).sum())

    found = optimal_mixing(spectrum, y, clean, **how)
    teacher = generations(spectrum, y, 0, **how)
    assert found.teacher_risk == pytest.approx(float(((teacher - clean) ** 2).sum()), rel=1e-12)
    assert risk(0.0) == pytest.approx(found.teacher_risk, rel=1e-12)
    assert risk(found.own_weight) == pytest.approx(found.student_risk, rel=1e-12)
    for d in (0.01, -0.01):
        assert risk(found.own_weight + d) > found.student_risk


def test_ridge_moves_along_its_path():
    """xi* = -R' / (2 c |df/dc|²) and gain R'² / (4 |df/dc|²), on new inputs, by differences of ridge itself."""
    g = torch.Generator().manual_seed(0)
    x, other = torch.randn(20, 3, generator=g), torch.randn(9, 3, generator=g)
    spectrum, cross = Spectrum.of(relu_kernel(x)), relu_kernel(other, x)
    clean, y = other[:, :1].sign().double(), x[:, :1].sign().double() + torch.randn(20, 1, generator=g)
    for c in (0.02, 0.5, 20.0):
        h = 1e-4 * c
        low, high = (extend(spectrum, ridge(spectrum, y, p), cross) for p in (c - h, c + h))
        slope = float(((high - clean) ** 2).sum() - ((low - clean) ** 2).sum()) / (2 * h)
        speed = float((((high - low) / (2 * h)) ** 2).sum())
        found = optimal_mixing(spectrum, y, clean, penalty=c, cross=cross)
        assert found.own_weight == pytest.approx(-slope / (2 * c * speed), rel=1e-5)
        assert found.teacher_risk - found.student_risk == pytest.approx(slope**2 / (4 * speed), rel=1e-5)
        assert math.copysign(1, found.own_weight) == -math.copysign(1, slope)


def test_a_linear_model_with_noise_by_its_singular_values():
    """xi* of a fixed design: sum(g² w² c - th² (1-c) c²) / sum(c² ((1-c)² th² + g² w²)), in parameters."""
    rng = np.random.default_rng(0)
    x, theta, penalty = rng.normal(size=(30, 6)), rng.normal(size=6), 2.0
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    th, c, w = vt @ theta, penalty / (s**2 + penalty), s / (s**2 + penalty)
    truth = torch.tensor(x @ theta)
    for gamma in (0.1, 1.0, 10.0):
        noise = gamma**2 * w**2
        expected = (noise * c - th**2 * (1 - c) * c**2).sum() / (c**2 * ((1 - c) ** 2 * th**2 + noise)).sum()
        found = expected_optimal_mixing(
            Spectrum.of(x @ x.T), truth, truth, gamma**2, penalty=penalty, norm="parameters"
        )
        assert found.own_weight == pytest.approx(expected, rel=1e-8)
        risk = ((c * th) ** 2 + noise).sum()
        assert found.teacher_risk == pytest.approx(risk, rel=1e-8)
    loud = expected_optimal_mixing(Spectrum.of(x @ x.T), truth, truth, 1e12, penalty=penalty, norm="parameters")
    assert loud.own_weight == pytest.approx((w**2 * c).sum() / (w**2 * c**2).sum(), rel=1e-6)
    assert loud.own_weight > 1


def test_the_expected_weight_is_that_of_many_draws():
    """Means over 20,000 draws of noise, of the two inner products whose ratio the weight is."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(15, 4, generator=g, dtype=torch.float64)
    spectrum, truth = Spectrum.of(x @ x.T / 4), torch.randn(15, generator=g, dtype=torch.float64)
    spread = 0.5 + torch.rand(15, generator=g, dtype=torch.float64)
    draws = 0.6 * truth[:, None] + spread.sqrt()[:, None] * torch.randn(15, 20_000, generator=g, dtype=torch.float64)
    teacher = generations(spectrum, draws, 0, time=0.7)
    change = generations(spectrum, draws, 1, time=0.7) - teacher
    error = teacher - truth[:, None]
    found = expected_optimal_mixing(spectrum, truth, 0.6 * truth, spread, time=0.7)
    assert found.own_weight == pytest.approx(-float((error * change).sum() / (change**2).sum()), rel=0.02)
    assert found.teacher_risk == pytest.approx(float((error**2).sum() / 20_000), rel=0.02)


def test_nothing_to_mix_and_bad_settings(small):
    spectrum, _, y, clean = small
    done = optimal_mixing(spectrum, y, clean, time=math.inf)
    assert done.own_weight == 0
    assert done.teacher_risk == done.student_risk == pytest.approx(float(((y - clean) ** 2).sum()))
    with pytest.raises(SettingError, match="there are 2 times or penalties, but just one is due"):
        optimal_mixing(spectrum, y, clean, penalty=[1.0, 2.0])
    with pytest.raises(DataError, match=r"truth has shape \(5,\), but the outputs have \(12, 3\)"):
        optimal_mixing(spectrum, y, torch.zeros(5), time=1.0)
    with pytest.raises(SettingError, match="norm is 'l1', but must be 'outputs' or 'parameters'"):
        expected_optimal_mixing(spectrum, y, y, 1.0, time=1.0, norm="l1")
