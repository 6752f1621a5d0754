"""The uniform-prior regulariser of DivideMix; its squared error is in the table of losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill.losses import far_from_uniform


@pytest.mark.parametrize("seed", range(5))
def test_equals_its_naive_twin(seed):
    z = np.random.default_rng(seed).normal(0, 2, (6, 4))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    mean = [sum(p[i, c] for i in range(6)) / 6 for c in range(4)]
    twin = sum(0.25 * np.log(0.25 / m) for m in mean)
    assert far_from_uniform(torch.tensor(z)).item() == pytest.approx(twin, rel=1e-9)


def test_one_class_for_all_is_worst_and_stays_finite():
    z = torch.tensor([[1e4, 0.0], [1e4, 0.0]], requires_grad=True)
    value = far_from_uniform(z)
    value.backward()
    assert value.item() > 1e3
    assert z.grad.isfinite().all()
    assert far_from_uniform(torch.zeros(3, 5)).abs().item() < 1e-6
