"""What the kernel regime is tested on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.claims.closed_forms import first_layer_kernel

from selfdistill.theory import Spectrum


@pytest.fixture
def small():
    """Spectrum, gram, targets ``[12, 3]`` and a start, of full rank with eigenvalues over three decades."""
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    gram = torch.tensor((q * np.geomspace(2, 2e-3, 12)) @ q.T)
    targets, start = torch.tensor(rng.normal(size=(12, 3))), torch.tensor(rng.normal(size=(12, 3)))
    return Spectrum.of(gram), gram, targets, start


@pytest.fixture
def rk4():
    """Return a function that follows df/dt = slope(f, t) by 1,000 steps of the classical Runge-Kutta method."""

    def follow(slope, state, end, steps=1000):
        h = end / steps
        for k in range(steps):
            t = k * h
            a = slope(state, t)
            b = slope(state + h / 2 * a, t + h / 2)
            c = slope(state + h / 2 * b, t + h / 2)
            d = slope(state + h * c, t + h)
            state = state + h / 6 * (a + 2 * b + 2 * c + d)
        return state

    return follow


@pytest.fixture(scope="session")
def clusters():
    """Eight clusters in 20 dimensions, 400 points, labels of -1 and 1 of which exactly 120 are flipped.

    Returns the spectrum of the first-layer kernel, the truth and the given labels.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 20))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    cluster = np.arange(400) % 8
    x = centres[cluster] + 0.4 / math.sqrt(20) * rng.normal(size=(400, 20))
    truth = np.where(cluster % 2 == 0, 1.0, -1.0)
    given = truth.copy()
    given[rng.permutation(400)[:120]] *= -1
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return Spectrum.of(first_layer_kernel(torch.tensor(x))), torch.tensor(truth), torch.tensor(given)
