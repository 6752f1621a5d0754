"""Closed forms of training against many small explicit steps, matrix formulas and new inputs."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.theory import Spectrum, gradient_descent, gradient_flow, relu_kernel, ridge
from selfdistill.theory._gradient_flow import extend


@pytest.mark.parametrize("begin", [False, True])
def test_flow_is_the_differential_equation(small, rk4, begin):
    spectrum, gram, y, f0 = small
    start = f0 if begin else torch.zeros_like(y)
    found = gradient_flow(spectrum, y, [5.0, 50.0], f0 if begin else None)
    for f, time in zip(found, (5.0, 50.0), strict=True):
        torch.testing.assert_close(f, rk4(lambda f, t: -gram @ (f - y), start, time), rtol=0, atol=2e-8)
    torch.testing.assert_close(found[1], torch.linalg.matrix_exp(-50 * gram) @ (start - y) + y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lr", [1e-3, 0.4, 0.5, 0.7, 0.99, 1.0])
def test_descent_is_a_thousand_steps(small, lr):
    spectrum, gram, y, f0 = small
    f, seen = f0, [f0]
    for _ in range(1000):
        f = f - lr * gram @ (f - y)
        seen.append(f)
    found = gradient_descent(spectrum, y, lr, [0, 1, 2, 7, 1000], f0)
    torch.testing.assert_close(found, torch.stack([seen[k] for k in (0, 1, 2, 7, 1000)]), rtol=0, atol=2e-12)
    torch.testing.assert_close(gradient_descent(spectrum, y[:, 1], lr, 7, f0[:, 1]), found[3][:, 1])


def test_residual_norm_of_descent(small):
    spectrum, _, y, _ = small
    c = spectrum.coefficients(y)
    expected = (((1 - 0.3 * spectrum.values[:, None]) ** 80 * c) ** 2).sum().sqrt()
    assert (y - gradient_descent(spectrum, y, 0.3, 40)).norm() > expected
    assert float((y - gradient_descent(spectrum, y, 0.3, 80)).norm()) == pytest.approx(float(expected), rel=1e-12)


def test_many_tiny_steps_lose_no_digits():
    spectrum = Spectrum.of(torch.tensor([[1e-9]], dtype=torch.float64))
    found = gradient_descent(spectrum, torch.ones(1), 1e-3, 10**12)
    assert float(found) == pytest.approx(-math.expm1(-1.0), rel=1e-10)


def test_ridge_is_the_matrix_formula(small):
    spectrum, gram, y, _ = small
    found = ridge(spectrum, y, [0.1, 3.0])
    for f, c in zip(found, (0.1, 3.0), strict=True):
        torch.testing.assert_close(f, gram @ torch.linalg.solve(gram + c * torch.eye(12), y))


def test_new_inputs_follow(rk4):
    """Weights of the kernel are trained along, step by step; the outputs elsewhere are read off them."""
    g = torch.Generator().manual_seed(0)
    x, other = torch.randn(15, 4, generator=g), torch.randn(6, 4, generator=g)
    kernel, cross = relu_kernel(x), relu_kernel(other, x)
    y, spectrum = torch.randn(15, 2, generator=g).double(), Spectrum.of(kernel)
    f0, other0 = torch.randn(15, 2, generator=g).double(), torch.randn(6, 2, generator=g).double()
    weights = rk4(lambda a, t: -(f0 + kernel @ a - y), torch.zeros(15, 2, dtype=torch.float64), 3.0)
    change = gradient_flow(spectrum, y, [3.0, math.inf], f0) - f0
    found = other0 + extend(spectrum, change, cross)
    torch.testing.assert_close(found[0], other0 + cross @ weights, rtol=0, atol=1e-7)
    torch.testing.assert_close(found[1], other0 + cross @ torch.linalg.solve(kernel, y - f0), rtol=0, atol=1e-9)
    torch.testing.assert_close(extend(spectrum, change[0][:, 0], cross), found[0][:, 0] - other0[:, 0])
    with pytest.raises(DataError, match=r"cross has shape \(15, 6\), but must be \[m, 15\]"):
        extend(spectrum, change, cross.T)


def test_a_singular_kernel_leaves_its_null_space_alone():
    kernel = torch.ones(3, 3, dtype=torch.float64)
    f = gradient_flow(Spectrum.of(kernel), torch.tensor([1.0, 2.0, 6.0]), math.inf, torch.tensor([0.0, 1.0, 2.0]))
    torch.testing.assert_close(f, torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64))
    inside = extend(Spectrum.of(kernel), torch.full((3,), 2.0), torch.ones(1, 3))
    assert float(inside) == pytest.approx(2.0)
