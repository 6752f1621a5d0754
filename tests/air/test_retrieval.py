"""Retrieval against the matrix exponential."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import anisotropy, anisotropy_at_start, centred, one_hot, random_retrieved, retrieved
from selfdistill.theory import Spectrum

TIMES = torch.tensor([1e-3, 0.1, 1.0, 30.0], dtype=torch.float64)


def naive(gram, z, t):
    return (z - torch.linalg.matrix_exp(-gram * t) @ z).norm() / z.norm()


def test_twin_and_bounds(gram, labels):
    z = centred(one_hot(labels, 3))
    found, part = retrieved(Spectrum.of(gram), z, TIMES), retrieved(Spectrum.of(gram, k=6), z, TIMES)
    expected = torch.stack([naive(gram, z, t) for t in TIMES])
    torch.testing.assert_close(found.low, expected)
    assert torch.equal(found.low, found.high)
    assert (part.low <= expected).all()
    assert (expected <= part.high + 1e-12).all()
    assert (part.low < expected)[2]
    white = torch.stack([(torch.eye(30) - torch.linalg.matrix_exp(-gram * t)).square().sum() / 30 for t in TIMES])
    torch.testing.assert_close(random_retrieved(Spectrum.of(gram), TIMES).low, white.sqrt())
    assert (random_retrieved(Spectrum.of(gram, k=6), TIMES).high >= white.sqrt()).all()


def test_the_upper_bound_is_reached_where_missing_directions_are_as_fast_as_the_last():
    gram, z = torch.diag(torch.tensor([3.0, 1.0, 1.0])), torch.tensor([1.0, 1.0, 1.0])
    found = retrieved(Spectrum.of(gram, k=2), z, TIMES)
    torch.testing.assert_close(found.high, retrieved(Spectrum.of(gram), z, TIMES).low)
    slow = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    torch.testing.assert_close(found.low, retrieved(Spectrum.of(slow), z, TIMES).low)


def test_anisotropy_starts_at_its_limit_and_ends_at_one(gram, labels):
    spectrum, z = Spectrum.of(gram), centred(one_hot(labels, 3))
    white = random_retrieved(spectrum, torch.tensor([1e-7])).low
    start = anisotropy_at_start(spectrum, z)
    assert float(start.low) == pytest.approx(float(retrieved(spectrum, z, 1e-7).low / white), rel=1e-4)
    part = anisotropy_at_start(Spectrum.of(gram, k=6), z)
    assert part.low <= start.low <= part.high
    noise = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    assert float(anisotropy(spectrum, z, noise, 1e9).low) == pytest.approx(1, abs=1e-6)


def test_what_is_refused(gram):
    with pytest.raises(SettingError, match="numbers of at least 0"):
        retrieved(Spectrum.of(gram), torch.arange(30.0), torch.tensor([-1.0]))
    with pytest.raises(DataError, match="no energy"):
        retrieved(Spectrum.of(gram), torch.zeros(30), TIMES)
