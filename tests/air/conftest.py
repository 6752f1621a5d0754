"""What the tests of air share: the digits with an analytic kernel, and small kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from selfdistill.theory import Spectrum


@pytest.fixture(scope="session")
def digits():
    """Spectrum of K/n of a two-layer ReLU network on all digits; true labels, and given ones with 40 % redrawn."""
    x, y = load_digits(return_X_y=True)
    x = x / 16 - (x / 16).mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    u = np.clip(x @ x.T, -1, 1)
    kernel = (u * (math.pi - np.arccos(u)) + np.sqrt(1 - u * u)) / math.pi + u * (math.pi - np.arccos(u)) / math.pi
    rng = np.random.default_rng(0)
    flip, given = rng.random(len(y)) < 0.4, y.copy()
    given[flip] = rng.integers(0, 10, flip.sum())
    return Spectrum.of(kernel / len(y)), torch.tensor(y), torch.tensor(given)


@pytest.fixture(scope="session")
def gram():
    """A positive definite kernel of 30 examples whose eigenvalues fall off quickly."""
    rng = np.random.default_rng(0)
    j = rng.normal(size=(30, 60)) * 0.85 ** np.arange(60)
    return torch.tensor(j @ j.T)


@pytest.fixture(scope="session")
def labels():
    return torch.arange(30) % 3
