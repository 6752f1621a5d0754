"""Spectra against numpy's, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum


@pytest.fixture
def gram():
    j = np.random.default_rng(0).normal(size=(20, 8))
    return j @ j.T


def test_all_pairs_are_those_of_numpy(gram):
    found = Spectrum.of(gram.astype(np.float32))
    assert found.complete
    assert found.size == 20
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(gram)[::-1], atol=1e-4)
    np.testing.assert_allclose(found.vectors * found.values @ found.vectors.T, gram, atol=1e-4)
    assert found.trace == pytest.approx(gram.trace(), rel=1e-6)
    assert found.residuals.max() < 1e-12 * found.values[0]


@pytest.mark.parametrize("n", [1, 2, 4, 16, 512])
def test_bounds_hold_for_matrices_whose_eigenvalues_are_known(n):
    q = hadamard(n).astype(float)  # all in whole numbers: nothing is rounded before it is decomposed
    for seed in range(1 if n > 100 else 30):
        numbers = np.random.default_rng(seed).integers(0, 1000, n).astype(float)
        found, values = Spectrum.of((q * numbers) @ q.T), np.sort(numbers * n)[::-1]
        assert (np.abs(found.values.numpy() - values) <= found.residuals.numpy()).all()
        assert found.residuals.max() < 1e-10 * values[0]


def test_leading_pairs_and_what_they_leave(gram):
    found, z = Spectrum.of(gram, k=3), torch.arange(40.0).reshape(20, 2)
    assert not found.complete
    assert found.vectors.shape == (20, 3)
    assert torch.equal(found.leading(2).values, found.values[:2])
    rest = found.unresolved(z)
    torch.testing.assert_close(rest + found.vectors @ found.coefficients(z), z.double())
    assert (found.vectors.T @ rest).abs().max() < 1e-12
    assert Spectrum.of(gram).unresolved(z).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g[:, :5], r"shape \(20, 5\), but must be square"),
        (lambda g: g - 3 * np.eye(20), r"not positive semidefinite.*from -3"),
        (lambda g: np.triu(g), "not symmetric: entries differ"),
        (lambda g: np.where(np.arange(20)[:, None] == 4, np.nan, g), "NaN or infinite values, the first in row"),
    ],
)
def test_what_is_no_kernel_is_refused(gram, change, words):
    with pytest.raises(DataError, match=words):
        Spectrum.of(change(gram))


def test_wrong_numbers_are_refused(gram):
    with pytest.raises(SettingError, match="k is 21, but a kernel of 20 examples"):
        Spectrum.of(gram, k=21)
    with pytest.raises(SettingError, match="k is 4, but this spectrum has 3 pairs"):
        Spectrum.of(gram, k=3).leading(4)
    with pytest.raises(DataError, match=r"z has shape \(7,\), but the kernel has 20 examples"):
        Spectrum.of(gram).coefficients(torch.zeros(7))
