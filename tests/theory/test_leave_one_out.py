"""Leave-one-out of kernel ridge regression against refits, and the criteria against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory import Spectrum, leave_one_out
from selfdistill.theory._leave_one_out import best_penalty, dual_weights


def problem(n, width, columns, seed=0):
    """A kernel of some rank, targets and a start."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)) * np.geomspace(1, 0.05, width)
    return (torch.tensor(v) for v in (x @ x.T, rng.normal(size=(n, columns)), rng.normal(size=(n, columns))))


def refits(gram, y, start, c, each=1):
    """One dense solve for each example left out."""
    found = torch.empty_like(y)
    for i in range(0, len(y), each):
        kept = torch.ones(len(y), dtype=torch.bool)
        kept[i : i + each] = False
        system = gram[kept][:, kept] + c * torch.eye(int(kept.sum()), dtype=torch.float64)
        found[~kept] = start[~kept] + gram[~kept][:, kept] @ torch.linalg.solve(system, (y - start)[kept])
    return found


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    n=st.integers(2, 9),
    width=st.integers(1, 30),
    columns=st.integers(1, 3),
    each=st.integers(1, 3),
    power=st.integers(-4, 3),
)
def test_leave_one_out_equals_refits(n, width, columns, each, power):
    gram, y, start = problem(n * each, width, columns)
    c = 10.0**power
    found = leave_one_out(Spectrum.of(gram), y, c, start, each=each)
    torch.testing.assert_close(found, refits(gram, y, start, c, each), rtol=1e-8, atol=1e-8)
    single = leave_one_out(Spectrum.of(gram), y[:, 0], c, each=each)
    torch.testing.assert_close(single[:, None], refits(gram, y[:, :1], 0 * start[:, :1], c, each), rtol=1e-8, atol=1e-8)


def test_weights_are_sklearns():
    gram, y, start = problem(20, 30, 2)
    expected = KernelRidge(alpha=0.3, kernel="precomputed").fit(gram.numpy(), (y - start).numpy()).dual_coef_
    np.testing.assert_allclose(dual_weights(Spectrum.of(gram), y, 0.3, start), expected, rtol=1e-9)


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("by", ["gcv", "loo"])
def test_the_penalty_is_the_least_of_the_criterion_by_its_definition(by, each):
    gram, noise, start = problem(24, 40, 2, seed=3)
    spectrum = Spectrum.of(gram)
    y = start + spectrum.vectors[:, :4] @ torch.ones(4, 2).double() + 0.1 * noise
    found = best_penalty(spectrum, y, start, by=by, each=each)
    eye, errors = torch.eye(24, dtype=torch.float64), {}
    for k in range(-2, 3):
        c = found * 2.0**k
        rest = eye - gram @ torch.linalg.inv(gram + c * eye)
        gcv = float((rest @ (y - start)).square().sum() / rest.trace() ** 2)
        errors[k] = gcv if by == "gcv" else float((refits(gram, y, start, c, each) - y).square().mean())
    assert min(errors, key=errors.get) == 0
    assert len(set(errors.values())) == 5


def test_loo_chooses_what_sklearn_chooses():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 12))
    y = x @ rng.normal(size=12) + 3 * rng.normal(size=30)
    spectrum = Spectrum.of(torch.tensor(x @ x.T))
    grid = [1024 * float(spectrum.values[0]) * 0.5**k for k in range(40)]
    expected = RidgeCV(alphas=grid, fit_intercept=False).fit(x, y).alpha_  # leave-one-out, by another formula
    assert best_penalty(spectrum, torch.tensor(y), by="loo") == pytest.approx(expected)


def test_labels_in_the_leading_directions_want_no_ridge_and_others_a_large_one():
    gram, _, _ = problem(40, 60, 1)
    spectrum = Spectrum.of(gram)
    signal, noise = spectrum.vectors[:, :3].sum(1), spectrum.vectors[:, 20:].sum(1)
    for by in ("gcv", "loo"):
        assert best_penalty(spectrum, signal, by=by) < 1e-3 * float(spectrum.values[0])
        assert best_penalty(spectrum, noise, by=by) > float(spectrum.values[0])


def test_a_regression_on_rounding_is_refused():
    gram, y, _ = problem(12, 3, 1)  # of rank 3
    spectrum = Spectrum.of(gram)
    with pytest.raises(SettingError, match=r"ridge is 0, but the kernel has eigenvalues down to .* rounding"):
        leave_one_out(spectrum, y, 0.0)
    least = float(leave_one_out(spectrum, y, 1e-9).norm())
    assert np.isfinite(least)
    assert best_penalty(spectrum, y) >= 12 * np.finfo(float).eps * float(spectrum.values[0])
    full, y, start = problem(6, 40, 1)
    torch.testing.assert_close(
        leave_one_out(Spectrum.of(full), y, 0.0, start), refits(full, y, start, 0.0), rtol=1e-8, atol=1e-8
    )


def test_what_is_refused():
    gram, y, _ = problem(6, 9, 1)
    spectrum = Spectrum.of(gram)
    with pytest.raises(SettingError, match=r"ridge is 'aic'.*gcv, loo, or give a number"):
        best_penalty(spectrum, y, by="aic")
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match=r"ridge is (-1|nan|inf), but must be 0 or more, and finite"):
            leave_one_out(spectrum, y, bad)
    with pytest.raises(SettingError, match="the spectrum has 2 of 6 eigenpairs"):
        leave_one_out(spectrum.leading(2), y, 1.0)
    with pytest.raises(SettingError, match="each is 4, but the kernel's 6 rows are not a multiple"):
        leave_one_out(spectrum, y, 1.0, each=4)
    with pytest.raises(SettingError, match="the kernel is 0"):
        best_penalty(Spectrum.of(torch.zeros(3, 3)), torch.ones(3))
    with pytest.raises(DataError, match=r"targets has shape \(5,\)"):
        leave_one_out(spectrum, torch.ones(5), 1.0)
