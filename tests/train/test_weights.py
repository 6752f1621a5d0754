"""Weights of examples: a network trained with them equals one trained on copies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from selfdistill.data._source import from_arrays
from selfdistill.train import Settings
from selfdistill.train._fit import fit


def trained(X: np.ndarray, y: np.ndarray, weights: torch.Tensor | None = None, epochs: int = 1) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    data = replace(from_arrays(X, y, form="user"), weights=weights)
    settings = Settings(method="cross-entropy", epochs=epochs, batch_size=len(X), lr=0.5).resolve(len(X), "cpu")
    return fit(data, replace(settings, lr_warmup=0.0), model=model).model.weight.detach()


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3


def test_a_weight_of_two_is_a_copy(points) -> None:
    X, y = points
    weighted = trained(X, y, torch.tensor([2.0] * 12 + [1.0] * 18), epochs=5)
    copied = trained(np.r_[X, X[:12]], np.r_[y, y[:12]], epochs=5)
    torch.testing.assert_close(weighted, copied, rtol=0, atol=1e-5)
    assert (weighted - trained(X, y, epochs=5)).abs().max() > 1e-3


def test_a_weight_of_zero_leaves_out(points) -> None:
    X, y = points
    out = torch.tensor([1.0] * 24 + [0.0] * 6)
    torch.testing.assert_close(trained(X, y, out, epochs=5), trained(X[:24], y[:24], epochs=5), rtol=0, atol=1e-5)
