"""What the tests of the closed form share: small kernels, and ridge regression by an explicit solve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from selfdistill.closed._given import Given
from selfdistill.closed._noise_link import NoiseLink
from selfdistill.closed._prepare import ClosedOptions, Prepared, prepare
from selfdistill.networks._kernel_machine import unit_rows


def _refit(kernel: Tensor, targets: Tensor, rows: Tensor, ridge: float, other: Tensor) -> Tensor:
    """Fit ``rows`` with an intercept that is not penalised, by one solve of the whole system; predict ``other``."""
    m = len(rows)
    system = torch.zeros(m + 1, m + 1, dtype=torch.float64)
    system[:m, :m] = kernel[rows][:, rows] + ridge * torch.eye(m, dtype=torch.float64)
    system[:m, m] = system[m, :m] = 1
    right = torch.cat([targets[rows].double(), torch.zeros(1, targets.shape[1], dtype=torch.float64)])
    solved = torch.linalg.solve(system, right)
    return kernel[other][:, rows] @ solved[:m] + solved[m]


@pytest.fixture
def refit() -> Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]:
    return _refit


def _smoothed(quality: np.ndarray, scores: np.ndarray, codes: np.ndarray, link: NoiseLink) -> np.ndarray:
    """Add three thousandths of how near smooth scores are to each label, row by row."""
    near = []
    for row, code, p in zip(scores, codes, link.prior(scores), strict=True):
        ahead = row[code] - max(score for c, score in enumerate(row) if c != code)
        near.append((p[code] + min(max((1 + ahead) / 2, 0), 1)) / 2)
    return 0.997 * quality + 0.003 * np.array(near)


@pytest.fixture
def smoothed() -> Callable[[np.ndarray, np.ndarray, np.ndarray, NoiseLink], np.ndarray]:
    return _smoothed


@pytest.fixture
def points() -> Callable[..., Tensor]:
    """Unit rows in float64."""

    def make(n: int, d: int, seed: int = 0) -> Tensor:
        inputs = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return unit_rows(inputs, d**0.5)

    return make


@pytest.fixture
def blobs() -> Callable[..., tuple[Tensor, np.ndarray, np.ndarray]]:
    """Gaussian classes: inputs, true labels, and given ones of which a share is wrong, evenly or by pairs."""

    def make(
        n: int, k: int, wrong: float, *, d: int = 6, apart: float = 3.0, pairs: bool = False, seed: int = 0
    ) -> tuple[Tensor, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        truth = rng.integers(k, size=n)
        centres = rng.normal(size=(k, d))
        inputs = apart * centres[truth] + rng.normal(size=(n, d))
        moved = (truth + (1 if pairs else rng.integers(1, k, size=n))) % k
        given = np.where(rng.random(n) < wrong, moved, truth)
        return torch.from_numpy(inputs).float(), truth, given

    return make


@pytest.fixture(scope="module")
def made() -> tuple[Prepared, np.ndarray]:
    """Give what is ready to be settled, three rounds in 64 bit, and the true labels of its 90 rows."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=90)
    inputs = torch.from_numpy(2.0 * np.eye(3)[truth] + rng.normal(size=(90, 3)))
    given = np.where(rng.random(90) < 0.3, (truth + 1) % 3, truth)
    return prepare(inputs, Given(given, 3), ClosedOptions(dtype=torch.float64, rounds=3, forest=False)), truth
