"""Energy shares: the digits oracle, a naive twin, random labels against their exact expectation."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import captured, centred, information_gap, noise_part, one_hot, random_captured
from selfdistill.theory import Spectrum

RANKS = [1, 5, 10, 20, 50, 100, 200, 500, 1000]


def test_digits_oracle(digits):
    spectrum, truth, given = digits
    clean = centred(one_hot(truth, 10))
    raw = centred(one_hot(given, 10) - one_hot(truth, 10))
    found = captured(spectrum, clean, RANKS).low
    torch.testing.assert_close(
        found, torch.tensor([0, 0.289, 0.551, 0.688, 0.819, 0.881, 0.923, 0.965, 0.991]).double(), atol=6e-4, rtol=0
    )
    torch.testing.assert_close(
        captured(spectrum, raw, RANKS).low,
        torch.tensor([0, 0.057, 0.113, 0.149, 0.187, 0.222, 0.270, 0.412, 0.641]).double(),
        atol=6e-4,
        rtol=0,
    )
    drawn_from = torch.full((10, 10), 0.04).double().fill_diagonal_(0.64)
    noise = noise_part(given, truth, 10, drawn_from)
    pure = captured(spectrum, noise, RANKS).low
    assert float(pure[2]) < 0.008 < 0.113  # the plain difference holds a copy of the signal
    chance = random_captured(spectrum, given, 10, RANKS, draws=10)
    assert ((pure - chance.expected).abs() < 5 * chance.std + 1e-3).all()
    measured = noise_part(given, truth, 10)  # its classes explained away: less than chance in the first directions
    assert float(captured(spectrum, measured, [10]).low) == pytest.approx(0.0024, abs=5e-5)
    assert float(information_gap(spectrum, clean, measured, [10]).low) == pytest.approx(0.549, abs=1e-3)


def test_naive_twin_and_missing_pairs(gram, labels):
    z = centred(one_hot(labels, 3))
    vectors = torch.linalg.eigh(gram).eigenvectors
    shares = [sum(float((vectors[:, -i - 1] @ z).square().sum()) for i in range(k)) for k in (1, 4, 9, 30)]
    whole = float(z.square().sum())
    found = captured(Spectrum.of(gram), z, [1, 4, 9, 30])
    assert found.low.tolist() == pytest.approx([s / whole for s in shares])
    assert found.low[-1] == found.high[-1] == 1
    part = captured(Spectrum.of(gram, k=5), z, [1, 4, 9, 30])
    assert part.low[:2].tolist() == part.high[:2].tolist() == pytest.approx(found.low[:2].tolist())
    assert part.low[2] <= found.low[2] <= part.high[2] == 1
    assert part.low[3] == part.high[3] == 1


def test_random_labels_meet_their_expectation(gram, labels):
    found = random_captured(Spectrum.of(gram), labels, 3, [3, 10, 30], draws=2000)
    torch.testing.assert_close(found.mean, found.expected, atol=0.004, rtol=0)
    assert found.expected[2] == pytest.approx(1)
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    assert random_captured(Spectrum.of(gram, k=5), labels, 3, [10]).expected.isnan().all()


def test_what_is_refused(gram):
    spectrum = Spectrum.of(gram)
    with pytest.raises(SettingError, match="rank 31 for a kernel of 30 examples"):
        captured(spectrum, torch.ones(30), [31])
    with pytest.raises(SettingError, match=r"rank \(none\)"):
        captured(spectrum, torch.ones(30), [])
    with pytest.raises(DataError, match="no energy: after centring they are constant"):
        captured(spectrum, centred(torch.ones(30)), [1])
    with pytest.raises(DataError, match=r"z has shape \(29, 1\), but the kernel has 30"):
        captured(spectrum, torch.ones(29), [1])
