"""Sums over blocks are those over all rows, wherever the centre lies, and 32 bit come near 64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.closed import _spectrum
from selfdistill.closed._moments import Moments, Regression, column_sums, second_moment, without_itself
from selfdistill.closed._spectrum import Spectrum


@given(st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_blocks_add_up_to_weighted_sums_about_the_mean(n: int, step: int, weighted: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, q = rng.normal(2, 1, (n, 3)), rng.normal(-1, 1, (n, 2))
    w = rng.gamma(1.0, size=n) + 1e-3 if weighted else np.ones(n)
    found = Moments(3, torch.from_numpy(rng.normal(size=2)))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        part = [torch.from_numpy(one[rows]) for one in (x, q, w)]
        found.add(part[0], part[1], part[2] if weighted else None)
    found.finish()
    mean = (w @ q) / w.sum()
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.cross, (x * w[:, None]).T @ (q - mean), atol=1e-9)
    assert found.variance == pytest.approx(float(w @ ((q - mean) ** 2).sum(1)), abs=1e-9)


def test_32_bit_come_near_64() -> None:
    """30,000 rows far from 0, of which some directions hold a millionth of the variance of others."""
    generator = torch.Generator().manual_seed(0)
    scales = 10.0 ** torch.linspace(0, -3, 40, dtype=torch.float64)
    wide = torch.randn(30_000, 40, generator=generator, dtype=torch.float64) * scales + 1.0
    q = torch.nn.functional.one_hot(torch.randint(5, (30_000,), generator=generator), 5).double()
    scores = []
    for dtype in (torch.float64, torch.float32):
        rows, targets = wide.to(dtype), q.to(dtype)
        spectrum = Spectrum(lambda part: rows[part], 30_000, step=4096, targets=lambda part: targets[part])
        fit = spectrum.solve(spectrum.first, 0.3)
        hats = spectrum.leverages(slice(0, 2000), z := spectrum.at(slice(0, 2000)), [0.3])
        scores.append(without_itself(fit(z), targets[:2000], hats[0.3]).double())
    spread = (scores[0] - scores[0].mean(0)).square().mean().sqrt()
    assert (scores[1] - scores[0]).square().mean().sqrt() < 2e-3 * spread


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_and_products_of_columns(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(50, 7, generator=generator), torch.rand(50, generator=generator) if weighted else None
    wide, each = x.double(), torch.ones(50).double() if w is None else w.double()
    torch.testing.assert_close(column_sums(x, w), (each[:, None] * wide).sum(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(second_moment(x, w), torch.einsum("n,na,nb->ab", each, wide, wide), rtol=0, atol=1e-5)


def test_many_rows_get_their_eigenpairs_in_64_bit(monkeypatch) -> None:
    seen, rows = [], torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

    def watched(moment: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(moment.dtype)
        return eigh(moment)

    eigh = _spectrum.eigenpairs
    monkeypatch.setattr("selfdistill.closed._spectrum.eigenpairs", watched)
    for wide in (41, 40):
        monkeypatch.setattr("selfdistill.closed._spectrum._WIDE_ROWS", wide)
        Spectrum(lambda part: rows[part], 40)
    assert seen == [torch.float32, torch.float64]


def test_a_regression_predicts_its_mean_where_features_are_zero() -> None:
    fit = Regression(torch.ones(3, 2, dtype=torch.float64), torch.tensor([0.25, 0.75], dtype=torch.float64), 1.0)
    assert fit(torch.zeros(2, 3)).tolist() == [[0.25, 0.75]] * 2
    assert fit(torch.ones(1, 3)).tolist() == [[3.25, 3.75]]
