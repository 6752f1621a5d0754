"""A sketch estimates the kernel without bias, and better the larger it is."""

from __future__ import annotations

import pytest
import torch

from selfdistill.ntk import NTK
from selfdistill.ntk._pham2013sketch import sketch


def estimate(kernel, size, seed):
    groups, chunk, *_ = kernel._planner().product(1)
    with torch.no_grad():
        rows = sketch(kernel.jacobian, kernel.inputs, groups, chunk, size, seed, lambda done: None)
    return rows @ rows.T


@pytest.mark.parametrize("output", ["trace", "full"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_unbiased_and_better_the_larger(network, name, output):
    model, x = network(name)
    kernel = NTK(model, x, output=output)
    exact = kernel.matrix()

    def error(size, seeds):
        mean = torch.stack([estimate(kernel, size, seed) for seed in seeds]).mean(0)
        return float((mean - exact).norm() / exact.norm())

    one = error(64, [0])
    assert error(64, range(60)) < 0.35 * max(one, 0.15)  # the mean of 60 is √60 times closer
    assert error(8192, [0]) < 0.05


def test_the_seed_decides(network):
    kernel = NTK(*network("mlp"))
    assert torch.equal(estimate(kernel, 32, 1), estimate(kernel, 32, 1))
    assert not torch.equal(estimate(kernel, 32, 1), estimate(kernel, 32, 2))
