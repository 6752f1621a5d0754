"""Restarted self-distillation against retraining, rounds against simulation, and the best mixing weight."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum, gradient_flow, optimal_mixing, relu_kernel, ridge
from selfdistill.theory._generations import generations
from selfdistill.theory._gradient_flow import extend

# -- mobahi2020generations ---------------------------------------------------------------------------------------------


TOY = [0.38476636465198066, 1.2333967683416893, 1.33232242218057, 0.6920159488889518, -0.29756145531871736]
TOY += [-0.24189291901377769, -0.7964485769175675, -0.9616480167034174, -0.49672509509916934]
TOY += [-0.3469066003991437, 0.5589512650600734]


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, -0.5, 1.5])
@pytest.mark.parametrize("how", [{"time": 3.0}, {"penalty": 0.2}])
def test_each_generation_is_trained_on_the_last(small, alpha, how):
    spectrum, _, y, _ = small

    def train(targets):
        return gradient_flow(spectrum, targets, 3.0) if "time" in how else ridge(spectrum, targets, 0.2)

    seen = [train(y)]
    for _ in range(5):
        seen.append(train(alpha * y + (1 - alpha) * seen[-1]))
    found = generations(spectrum, y, range(6), given_weight=alpha, **how)
    torch.testing.assert_close(found, torch.stack(seen), rtol=1e-10, atol=1e-13)


def test_limits(small):
    spectrum, _, y, _ = small
    amplified = generations(spectrum, y, math.inf, given_weight=0.25, penalty=0.1)
    torch.testing.assert_close(amplified, ridge(spectrum, y, 0.4))
    assert generations(spectrum, y, math.inf, penalty=0.1).abs().max() < 1e-14
    torch.testing.assert_close(generations(spectrum, y, math.inf, time=math.inf), y)
    torch.testing.assert_close(
        generations(spectrum, y, 10**4, given_weight=0.25, time=2.0),
        generations(spectrum, y, math.inf, given_weight=0.25, time=2.0),
    )


@pytest.mark.parametrize(
    ("alpha", "losses", "limit"),
    [
        (0.0, [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251], 0.49505),
        (0.35, [0.16477, 0.15424, 0.15089, 0.14983, 0.14954, 0.14948], 0.14959),
    ],
)
def test_the_toy_problem_of_the_literature(alpha, losses, limit):
    """Eleven noisy points of a sine, RBF kernel; mean squared distance to the sine on a grid, to all digits printed."""
    x, grid = np.arange(0, 1.1, 0.1)[:, None], np.arange(0, 1.01, 0.01)[:, None]
    spectrum, cross = Spectrum.of(rbf_kernel(x, gamma=80)), torch.tensor(rbf_kernel(grid, x, gamma=80))
    y = torch.tensor(TOY, dtype=torch.float64)
    f = extend(
        spectrum, generations(spectrum, y, [*range(6), 10**6], given_weight=alpha, penalty=0.2)[..., None], cross
    )
    found = ((f[..., 0].numpy() - np.sin(2 * np.pi * grid[:, 0])) ** 2).mean(1)
    np.testing.assert_allclose(found, [*losses, limit], rtol=0, atol=5.1e-6)


def test_bad_settings_are_refused(small):
    spectrum, _, y, _ = small
    with pytest.raises(SettingError, match="given_weight is inf, but must be finite"):
        generations(spectrum, y, 1, given_weight=math.inf, time=1.0)
    with pytest.raises(SettingError, match="infinitely many generations then diverge"):
        generations(spectrum, y, math.inf, given_weight=-1.0, time=10.0)
    with pytest.raises(SettingError, match="exactly one must be given"):
        generations(spectrum, y, 1)


# -- jeong2025rounds ---------------------------------------------------------------------------------------------------


N, K, C, D, PENALTY = 100, 4, 0.4, 0.1, 5e-5


def given_labels():
    """Half of each class keeps its label; the others get 17, 17 and 16."""
    rows = []
    for k in range(K):
        others = [j for j in range(K) if j != k]
        rows += [k] * 50 + [others[0]] * 17 + [others[1]] * 17 + [others[2]] * 16
    return torch.tensor(rows)


def test_as_many_rounds_as_predicted():
    truth, given = torch.arange(K).repeat_interleave(N), given_labels()
    gram = torch.where(truth[:, None] == truth, C, D).double().fill_diagonal_(1)
    spectrum = Spectrum.of(gram)
    assert spectrum.values[[0, 1, 3, 4, -1]].tolist() == pytest.approx([70.6, 30.6, 30.6, 0.6, 0.6])
    y = torch.eye(K, dtype=torch.float64)[given]
    f = generations(spectrum, y, range(20), penalty=K**2 * N * PENALTY)
    right = (f.argmax(-1) == truth).all(1).nonzero()[0]
    assert int(right) + 1 == 12  # the first round is generation 0


# -- optimal mixing ----------------------------------------------------------------------------------------------------


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


def test_nothing_to_mix_and_bad_settings(small):
    spectrum, _, y, clean = small
    done = optimal_mixing(spectrum, y, clean, time=math.inf)
    assert done.own_weight == 0
    assert done.teacher_risk == done.student_risk == pytest.approx(float(((y - clean) ** 2).sum()))
    with pytest.raises(SettingError, match="there are 2 times or penalties, but exactly one is needed"):
        optimal_mixing(spectrum, y, clean, penalty=[1.0, 2.0])
    with pytest.raises(DataError, match=r"truth has shape \(5,\), but the outputs have \(12, 3\)"):
        optimal_mixing(spectrum, y, torch.zeros(5), time=1.0)
