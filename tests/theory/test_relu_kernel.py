"""Analytic ReLU kernels against closed forms, numerical integrals, finite networks and exact arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.claims.closed_forms import first_layer_kernel
from scipy.integrate import dblquad

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum, relu_kernel


def points(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def test_depth_1_is_the_closed_form():
    x = unit(points(30, 5))
    u = (x @ x.T).clamp(-1, 1).fill_diagonal_(1)
    expected = (u * (math.pi - u.arccos()) + (1 - u**2).sqrt()) / math.pi + u * (math.pi - u.arccos()) / math.pi
    torch.testing.assert_close(relu_kernel(x), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(first_layer_kernel(x), u * (math.pi - u.arccos()) / (2 * math.pi), rtol=0, atol=1e-14)


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.2, 0.8])
def test_one_layer_of_nngp_is_the_integral(correlation):
    """2 E[relu(g) relu(g')] over a Gaussian with this correlation, in polar coordinates of independent a and b."""
    angle = math.acos(correlation)

    def integrand(phi, r):
        products = max(math.cos(phi), 0) * max(math.cos(phi - angle), 0)
        return 2 * r**3 * products * math.exp(-r * r / 2) / (2 * math.pi)

    integral = dblquad(integrand, 0, 12, angle - math.pi / 2, math.pi / 2)[0]
    x = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert relu_kernel(x, kind="nngp")[0, 1] == pytest.approx(integral, abs=1e-7)


def test_deeper_layers_are_integrals_over_the_layer_before():
    """Gauss-Hermite quadrature of 2 E[relu relu] and 2 E[step step], from one depth to the next; the kinks cost 1 %."""
    x = points(6, 3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    a, b = np.meshgrid(nodes, nodes, indexing="ij")
    w = np.outer(weights, weights) / (2 * math.pi)
    for depth in (1, 2, 3):
        before, after = (relu_kernel(x, depth=d, kind="nngp").numpy() for d in (depth - 1, depth))
        tangent_before, tangent_after = (relu_kernel(x, depth=d).numpy() for d in (depth - 1, depth))
        scale = np.sqrt(np.outer(before.diagonal(), before.diagonal()))
        for i, j in ((0, 1), (2, 5), (3, 4)):
            rho = before[i, j] / scale[i, j]
            second = rho * a + math.sqrt(1 - rho**2) * b
            nngp = scale[i, j] * 2 * (w * np.maximum(a, 0) * np.maximum(second, 0)).sum()
            active = 2 * (w * (a > 0) * (second > 0)).sum()
            assert after[i, j] == pytest.approx(nngp, rel=1e-2, abs=1e-3)
            assert tangent_after[i, j] == pytest.approx(tangent_before[i, j] * active + nngp, rel=2e-2, abs=5e-3)


@pytest.mark.parametrize(("depth", "width", "draws", "tolerance"), [(1, 16_384, 8, 0.025), (2, 1024, 16, 0.08)])
def test_wide_networks_have_nearly_these_kernels(depth, width, draws, tolerance):
    """Mean over draws; a hidden layer's own spread is sqrt(5 / width), so the tolerances are 3 to 4 of the mean's."""
    x = points(3, 4, seed=1).float()

    def network(weights, row):
        h = row
        for w in weights[:-1]:
            h = math.sqrt(2 / width) * torch.relu(w @ h)
        return (weights[-1] @ h)[0]

    tangent, covariance = torch.zeros(3, 3), torch.zeros(3, 3)
    for seed in range(draws):
        g = torch.Generator().manual_seed(seed)
        shapes = ((width, 4), *((width, width),) * (depth - 1), (1, width))
        weights = [torch.randn(s, generator=g) for s in shapes]
        jacobian = torch.func.vmap(torch.func.grad(network), (None, 0))(weights, x)
        for part in jacobian:
            tangent += part.flatten(1) @ part.flatten(1).T / draws
        covariance += jacobian[-1].flatten(1) @ jacobian[-1].flatten(1).T / draws  # last hidden layer
    for found, kind in ((tangent, "ntk"), (covariance, "nngp")):
        exact = relu_kernel(x, depth=depth, kind=kind)
        error = float((found - exact).abs().max() / exact.diagonal().max())
        assert error < tolerance
        assert error > 1e-4  # a network of finite width is not exact


def test_training_the_first_layer_alone():
    x, width = points(4, 3, seed=2), 16_384
    w = torch.randn(width, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    active = (x @ w.T > 0).double()
    found = (x @ x.T) * (active @ active.T) / width
    torch.testing.assert_close(found, first_layer_kernel(x), rtol=0, atol=0.02 * float(x.norm(dim=1).max() ** 2))


def test_depth_0_is_linear_and_norms_factor_out():
    x, y = points(5, 4), points(7, 4, seed=3)
    torch.testing.assert_close(relu_kernel(x, y, depth=0), x @ y.T)
    scaled = relu_kernel(3 * x, y, depth=3)
    torch.testing.assert_close(scaled, 3 * relu_kernel(x, y, depth=3))
    torch.testing.assert_close(relu_kernel(unit(x), depth=4).diagonal(), torch.full((5,), 5.0, dtype=torch.float64))


def test_two_sets_and_one_agree_in_any_blocks(monkeypatch):
    x = points(40, 6)
    whole = relu_kernel(x, depth=2)
    assert torch.equal(whole, whole.T)
    monkeypatch.setattr("selfdistill.theory._relu_kernel._BLOCK", 100)
    torch.testing.assert_close(relu_kernel(x, depth=2), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(relu_kernel(x[:9], x[9:], depth=2), whole[:9, 9:], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("opposite", [False, True])
def test_nearly_parallel_inputs_keep_their_digits(gap, opposite):
    """At angle g the kernel of depth 1 is 2 - g (2 / pi) + ..., which arccos of a rounded cosine misses by 1e-8."""
    base = unit(points(1, 50))
    side = unit(points(1, 50, seed=4) - (points(1, 50, seed=4) @ base.T) * base)
    second = math.cos(gap) * base + math.sin(gap) * side
    found = float(relu_kernel(base, -second if opposite else second))
    theta = math.pi - gap if opposite else gap
    cosine = -math.cos(gap) if opposite else math.cos(gap)
    left = gap if opposite else math.pi - gap  # pi - theta
    expected = (math.sin(theta if not opposite else gap) + 2 * left * cosine) / math.pi
    assert found == pytest.approx(expected, abs=3e-15)


def test_duplicates_have_equal_rows_and_a_zero_eigenvalue():
    x = points(6, 300, seed=5)
    twice = torch.cat([x, x, 7 * x, torch.zeros(1, 300, dtype=torch.float64)])
    kernel = relu_kernel(twice, depth=3)
    torch.testing.assert_close(kernel[:6], kernel[6:12], rtol=1e-14, atol=1e-11)
    torch.testing.assert_close(7 * kernel[:6], kernel[12:18], rtol=1e-13, atol=1e-10)
    assert kernel[-1].abs().max() == 0
    assert Spectrum.of(kernel).values[6:].abs().max() < 1e-11 * kernel.diagonal().max()


def test_images_and_extreme_scales():
    images = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(relu_kernel(images), relu_kernel(images.flatten(1).double()))
    tiny = relu_kernel(images.double() * 1e-200, images.double() * 1e200)
    torch.testing.assert_close(tiny, relu_kernel(images))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: relu_kernel(x, depth=-1), SettingError, "depth is -1, but counts hidden layers"),
        (lambda x: relu_kernel(x, kind="NTK"), SettingError, "kind is 'NTK', but must be 'ntk' or 'nngp'"),
        (lambda x: relu_kernel(x, x[:, :2]), DataError, "inputs have 3 values each, but the other set has 2"),
        (lambda x: relu_kernel(x[0]), DataError, r"inputs have shape \(3,\), but must be \[n, ...\]"),
        (lambda x: first_layer_kernel(x, x / 0), DataError, "other have NaN or infinite values, the first in row 0"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(torch.ones(2, 3))
