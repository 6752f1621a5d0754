"""Filters in the eigenbasis, and what their inputs must be."""

from __future__ import annotations

import math

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum
from selfdistill.theory._spectrum import (
    amounts,
    damping,
    eigenvalues,
    filtered,
    shrinkage,
    start_rows,
    steady_lr,
    target_rows,
)


def test_eigenvalues_of_rounding_count_as_zero():
    j = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = eigenvalues(Spectrum.of(j @ j.T))
    assert (found[:3] > 0.1).all()
    assert (found[3:] == 0).all()


def test_an_incomplete_spectrum_is_refused():
    with pytest.raises(SettingError, match=r"has 2 of 5 eigenpairs.*Spectrum.of\(kernel\) without k"):
        eigenvalues(Spectrum.of(torch.eye(5), k=2))


def test_filtered_is_the_matrix_formula(small):
    spectrum, _, y, f0 = small
    share = torch.rand(4, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = filtered(spectrum, share, y, f0)
    assert found.shape == (4, 12, 3)
    for row, s in zip(found, share, strict=True):
        matrix = spectrum.vectors @ torch.diag(s) @ spectrum.vectors.T
        torch.testing.assert_close(row, f0 + matrix @ (y - f0))
    torch.testing.assert_close(filtered(spectrum, share, y[:, 0])[2], filtered(spectrum, share[2], y)[:, 0])


def test_damping_and_shrinkage_at_their_ends():
    values = torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert damping(values, torch.tensor(math.inf)).tolist() == [math.inf, 0]
    assert shrinkage(values, [0.0, math.inf], None).tolist() == [[0, 0], [1, 0]]
    assert shrinkage(values, None, [2.0, math.inf]).tolist() == [[0.5, 0], [0, 0]]
    tiny = shrinkage(torch.tensor([1e-12], dtype=torch.float64), 1e-6, None)
    assert float(tiny) == pytest.approx(1e-18, rel=1e-14)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: amounts(-1.0, "time"), "time is -1, but must be 0 or more. Give another time."),
        (lambda: amounts([1.0, math.nan], "time"), "time is nan, but must be 0 or more"),
        (lambda: amounts([1, 1.5], "steps", whole=True), "steps is 1.5, but must be a whole number, 0 or more"),
        (lambda: amounts(0.0, "penalty", positive=True), "penalty is 0, but must be above 0"),
        (lambda: amounts(torch.ones(2, 2), "time"), r"time has shape \(2, 2\), but must be one number or a list"),
        (lambda: shrinkage(torch.ones(2), None, None), "time is None and penalty is None, but exactly one"),
        (lambda: shrinkage(torch.ones(2), 1.0, 2.0), "time is 1.0 and penalty is 2.0, but exactly one"),
        (lambda: steady_lr(torch.tensor([4.0]), 0.6), "lr is 0.6, but must be above 0 and at most .* = 0.5"),
        (lambda: steady_lr(torch.tensor([4.0]), 0.0), "lr is 0, but must be above 0"),
    ],
)
def test_amounts_out_of_range_are_refused(call, words):
    with pytest.raises(SettingError, match=words):
        call()


def test_rows_that_do_not_fit_are_refused():
    spectrum, y = Spectrum.of(torch.eye(3)), torch.zeros(3, 2)
    with pytest.raises(DataError, match=r"targets has shape \(4,\), but the kernel has 3 examples"):
        target_rows(spectrum, torch.zeros(4))
    with pytest.raises(DataError, match="truth has NaN or infinite values, the first in row 1"):
        target_rows(spectrum, torch.tensor([0.0, math.nan, 0.0]), "truth")
    with pytest.raises(DataError, match=r"start has shape \(3,\), but the targets have \(3, 2\)"):
        start_rows(spectrum, torch.zeros(3), y)
    assert torch.equal(start_rows(spectrum, None, y), y)
    assert steady_lr(torch.tensor([4.0]), 0.5) == pytest.approx(0.5)
