"""Block Krylov against a dense decomposition, on spectra that are hard for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill.ntk._eigenpairs import _orthonormal, block_krylov


def gram(values, seed=0):
    """A matrix with given eigenvalues and random eigenvectors."""
    n = len(values)
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return torch.as_tensor(q * values @ q.T)


def counted(matrix, dtype=torch.float64):
    """A product that keeps count of its calls, in a chosen precision."""
    calls = []

    def product(block):
        calls.append(block.shape[1])
        return matrix.to(dtype) @ block.to(dtype)

    return product, calls


SPECTRA = {
    "network-like": 1.0 / np.arange(1, 301) ** 1.5,
    "first far above the rest": np.r_[1000.0, np.linspace(1, 0.1, 299)],
    "ten-fold degenerate": np.repeat(1.0 / np.arange(1, 31) ** 2, 10),
    "of low rank": np.r_[np.linspace(5, 1, 7), np.zeros(293)],
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_leading_eigenvalues_to_1e_3_with_bounds_that_hold(values, dtype):
    matrix = gram(values)
    product, calls = counted(matrix, dtype)
    start = torch.randn(300, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    k = min(20, int((values > 0).sum()))
    found = block_krylov(product, start, k, trace=float(values.sum()))
    np.testing.assert_allclose(found.values, np.sort(values)[::-1][:k], rtol=1e-3)
    bounds = found.residuals.numpy() + 1e-6 * values.max()
    assert (np.abs(values[None] - found.values.numpy()[:, None]).min(1) <= bounds).all()
    torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(k).double(), atol=1e-10, rtol=0)
    assert len(calls) <= 14


def test_a_network_like_spectrum_takes_few_products():
    for k, most in ((20, 6), (50, 10)):  # published design: 5 and 9
        product, calls = counted(gram(np.exp(-np.arange(800) / 12) + 1e-6))
        start = torch.randn(800, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        block_krylov(product, start, k, trace=1.0)
        assert len(calls) <= most


def test_a_start_block_that_is_invariant_is_left():
    matrix = torch.diag(torch.arange(50, 0, -1.0).double())
    found = block_krylov(lambda q: matrix @ q, torch.eye(50)[:, 40:42], 3, trace=1275.0)
    np.testing.assert_allclose(found.values, [50, 49, 48], rtol=1e-3)


def test_all_pairs_are_exact():
    matrix = gram(1.0 / np.arange(1, 41))
    found = block_krylov(lambda q: matrix @ q, torch.randn(40, 7), 40, trace=1.0)
    np.testing.assert_allclose(found.values, 1.0 / np.arange(1, 41), rtol=1e-9)
    assert found.complete


def test_a_space_that_may_not_grow_says_how_far_off_it_is():
    values = 1.0 / np.arange(1, 201)
    matrix = gram(values)
    found = block_krylov(lambda q: matrix @ q, torch.randn(200, 5), 5, trace=1.0, most_columns=10)
    assert found.residuals.max() > 1e-3
    assert (np.abs(values[None] - found.values.numpy()[:, None]).min(1) <= found.residuals.numpy() + 1e-12).all()


@pytest.mark.parametrize(("apart", "columns"), [(1e-10, 1), (1e-7, 2)])  # 300 entries are rounded by about 1e-14
def test_a_direction_that_adds_next_to_nothing_is_left_out(apart, columns):
    one, other = torch.eye(300, dtype=torch.float64)[:2]
    found = _orthonormal(torch.stack([one, one + apart * other], 1), None)
    assert found.shape == (300, columns)
    torch.testing.assert_close(found.T @ found, torch.eye(columns).double())


def test_without_orthogonalising_it_would_see_ghosts(monkeypatch):
    """The check above fails when the second line of defence is removed: what the space already has must be left out."""
    from selfdistill.ntk import _eigenpairs

    whole = _eigenpairs._orthonormal
    monkeypatch.setattr(_eigenpairs, "_orthonormal", lambda block, basis: whole(block, None))
    matrix = gram(SPECTRA["first far above the rest"])
    found = block_krylov(lambda q: matrix @ q, torch.randn(300, 4), 8, trace=1.0, most_columns=80)
    assert found.values[1] > 10  # a copy of the first; the true second is 1
