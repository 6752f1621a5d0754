"""Generations against retraining, their limits, and numbers that others printed for a toy problem."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from selfdistill._core.errors import SettingError
from selfdistill.theory import Spectrum, extend, generations, gradient_flow, ridge

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
    with pytest.raises(SettingError, match="generations without end then diverge"):
        generations(spectrum, y, math.inf, given_weight=-1.0, time=10.0)
    with pytest.raises(SettingError, match="just one must be given"):
        generations(spectrum, y, 1)
