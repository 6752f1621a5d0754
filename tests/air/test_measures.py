"""Measures against their formulas on matrices, the digits oracle and exact expectations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import captured, noise_part, retrieved
from selfdistill.air._measures import (
    centred,
    effective_ranks,
    kernel_alignment,
    one_hot,
    random_captured,
    random_retrieved,
    subspace_overlap,
    target_alignment,
)
from selfdistill.theory import Spectrum

# -- cortes2012alignment -----------------------------------------------------------------------------------------------


def cosine(a, b, centre):
    h = torch.eye(len(a)).double() - 1 / len(a) if centre else torch.eye(len(a)).double()
    a, b = h @ a @ h, h @ b @ h
    return float((a * b).sum() / a.norm() / b.norm())


def cut(gram, k):
    """The kernel without its later directions, which is what a spectrum of k pairs stands for."""
    values, vectors = torch.linalg.eigh(gram)
    return vectors[:, -k:] * values[-k:] @ vectors[:, -k:].T


@pytest.fixture
def other(gram):
    g = torch.Generator().manual_seed(3)
    j = torch.randn(30, 40, generator=g).double() * 0.8 ** torch.arange(40)
    return gram + 2 * j @ j.T + 1.5


@pytest.mark.parametrize("centre", [True, False])
def test_naive_twins(gram, other, labels, centre):
    z = one_hot(labels, 3)
    assert target_alignment(Spectrum.of(other), z) == pytest.approx(cosine(other, z @ z.T, True), rel=1e-9)
    part = target_alignment(Spectrum.of(other, k=4), z)
    assert part == pytest.approx(cosine(cut(other, 4), z @ z.T, True))
    expected = cosine(gram, other, centre)
    assert kernel_alignment(Spectrum.of(gram), Spectrum.of(other), centre=centre) == pytest.approx(expected)
    part = kernel_alignment(Spectrum.of(gram, k=8), Spectrum.of(other, k=5), centre=centre)
    assert part == pytest.approx(cosine(cut(gram, 8), cut(other, 5), centre))


def test_overlap_is_one_with_itself_and_small_with_a_turned_kernel(gram):
    spectrum = Spectrum.of(gram)
    assert subspace_overlap(spectrum, spectrum, 4) == pytest.approx(1)
    q = torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(0)).double()).Q
    turned = Spectrum.of(q @ gram @ q.T)
    expected = float((spectrum.vectors[:, :4].T @ turned.vectors[:, :4]).square().sum() / 4)
    assert subspace_overlap(spectrum, turned, 4) == pytest.approx(expected)
    assert expected < 0.4


def test_what_is_refused(gram, labels):
    one, two = Spectrum.of(gram), Spectrum.of(gram[:5, :5])
    with pytest.raises(DataError, match="kernels of 30 and 5 examples cannot be compared"):
        kernel_alignment(one, two)
    with pytest.raises(DataError, match="30 examples"):
        target_alignment(one, torch.ones(4))
    with pytest.raises(DataError, match="constant: after centring nothing is left"):
        target_alignment(Spectrum.of(torch.ones(30, 30)), torch.ones(30))
    with pytest.raises(SettingError, match="k is 31"):
        subspace_overlap(one, one, 31)


# -- effective rank ----------------------------------------------------------------------------------------------------


def test_closed_forms():
    found = effective_ranks(Spectrum.of(torch.diag(torch.tensor([4.0, 2.0, 2.0]))))
    assert found["entropy"] == pytest.approx(2 ** (0.5 + 2 * 0.25 * 2), rel=1e-9)
    assert found["participation"] == pytest.approx(1 / (0.25 + 2 / 16), rel=1e-9)
    assert found["stable"] == pytest.approx(2)
    one = effective_ranks(Spectrum.of(torch.ones(5, 5)))
    assert all(rank == pytest.approx(1, abs=1e-4) for rank in one.values())


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=9), st.integers(1, 3))
def test_leading_pairs_give_no_smaller_ranks_than_all(values, k):
    gram = torch.diag(torch.tensor(values, dtype=torch.float64))
    whole, part = effective_ranks(Spectrum.of(gram)), effective_ranks(Spectrum.of(gram, k=k))
    for name, rank in whole.items():
        assert rank * (1 - 1e-9) <= part[name]
    assert math.isclose(whole["stable"], part["stable"], rel_tol=1e-9)


def test_missing_values_count_as_even():
    values = torch.tensor([4.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    whole, part = (effective_ranks(Spectrum.of(torch.diag(values), k=k)) for k in (6, 2))
    assert part == pytest.approx(whole)


def test_no_kernel():
    with pytest.raises(DataError, match="the kernel is zero"):
        effective_ranks(Spectrum.of(torch.zeros(2, 2)))


# -- energy ------------------------------------------------------------------------------------------------------------


RANKS = [1, 5, 10, 20, 50, 100, 200, 500, 1000]


def test_digits_oracle(digits):
    spectrum, truth, given = digits
    clean = centred(one_hot(truth, 10))
    raw = centred(one_hot(given, 10) - one_hot(truth, 10))
    found = captured(spectrum, clean, RANKS)
    torch.testing.assert_close(
        found, torch.tensor([0, 0.289, 0.551, 0.688, 0.819, 0.881, 0.923, 0.965, 0.991]).double(), atol=6e-4, rtol=0
    )
    torch.testing.assert_close(
        captured(spectrum, raw, RANKS),
        torch.tensor([0, 0.057, 0.113, 0.149, 0.187, 0.222, 0.270, 0.412, 0.641]).double(),
        atol=6e-4,
        rtol=0,
    )
    drawn_from = torch.full((10, 10), 0.04).double().fill_diagonal_(0.64)
    noise = noise_part(given, truth, 10, drawn_from)
    pure = captured(spectrum, noise, RANKS)
    assert float(pure[2]) < 0.008 < 0.113  # the plain difference holds a copy of the signal
    chance = random_captured(spectrum, given, 10, RANKS, draws=10)
    assert ((pure - chance.expected).abs() < 5 * chance.std + 1e-3).all()
    measured = noise_part(given, truth, 10)  # its classes explained away: less than chance in the first directions
    assert float(captured(spectrum, measured, [10])) == pytest.approx(0.0024, abs=5e-5)
    gap = captured(spectrum, clean, [10]) - captured(spectrum, measured, [10])
    assert float(gap) == pytest.approx(0.549, abs=1e-3)


def test_naive_twin_and_missing_pairs(gram, labels):
    z = centred(one_hot(labels, 3))
    vectors = torch.linalg.eigh(gram).eigenvectors
    shares = [sum(float((vectors[:, -i - 1] @ z).square().sum()) for i in range(k)) for k in (1, 4, 9, 30)]
    whole = float(z.square().sum())
    found = captured(Spectrum.of(gram), z, [1, 4, 9, 30])
    assert found.tolist() == pytest.approx([s / whole for s in shares])
    draws = torch.randn(30, 20, generator=torch.Generator().manual_seed(0)).double()
    whole = torch.cat([captured(Spectrum.of(gram), one, [30]) for one in draws.T])
    assert torch.equal(whole, torch.ones(20).double())  # not 1 less rounding
    assert captured(Spectrum.of(gram, k=5), z, [1, 4]).tolist() == pytest.approx(found[:2].tolist())


def test_random_labels_meet_their_expectation(gram, labels):
    found = random_captured(Spectrum.of(gram), labels, 3, [3, 10, 30], draws=2000)
    torch.testing.assert_close(found.mean, found.expected, atol=0.004, rtol=0)
    assert found.expected[2] == pytest.approx(1)
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    part = random_captured(Spectrum.of(gram, k=5), labels, 3, [3], draws=2000)
    torch.testing.assert_close(part.mean, found.mean[:1])
    with pytest.raises(SettingError, match="rank 10 for a kernel of 30 examples, of which 5 directions are known"):
        random_captured(Spectrum.of(gram, k=5), labels, 3, [10])


def test_what_is_refused_energy(gram):
    spectrum = Spectrum.of(gram)
    with pytest.raises(SettingError, match="rank 31 for a kernel of 30 examples"):
        captured(spectrum, torch.ones(30), [31])
    with pytest.raises(SettingError, match=r"of which 5 directions are known.*from 1 to 5"):
        captured(spectrum.leading(5), torch.ones(30), [6])
    with pytest.raises(SettingError, match=r"rank \(none\)"):
        captured(spectrum, torch.ones(30), [])
    with pytest.raises(DataError, match="no energy: after centring they are constant"):
        captured(spectrum, centred(torch.ones(30)), [1])
    with pytest.raises(DataError, match=r"z has shape \(29, 1\), but the kernel has 30"):
        captured(spectrum, torch.ones(29), [1])


# -- retrieval ---------------------------------------------------------------------------------------------------------


TIMES = torch.tensor([1e-3, 0.1, 1.0, 30.0], dtype=torch.float64)


def naive(gram, z, t):
    return (z - torch.linalg.matrix_exp(-gram * t) @ z).norm() / z.norm()


def test_retrieval_is_that_of_the_matrix_exponential(gram, labels):
    z = centred(one_hot(labels, 3))
    found, part = retrieved(Spectrum.of(gram), z, TIMES), retrieved(Spectrum.of(gram, k=6), z, TIMES)
    torch.testing.assert_close(found, torch.stack([naive(gram, z, t) for t in TIMES]))
    torch.testing.assert_close(part, torch.stack([naive(cut(gram, 6), z, t) for t in TIMES]))
    assert (part < found)[2]
    white = torch.stack([(torch.eye(30) - torch.linalg.matrix_exp(-gram * t)).square().sum() / 30 for t in TIMES])
    torch.testing.assert_close(random_retrieved(Spectrum.of(gram), TIMES), white.sqrt())


def test_directions_below_zero_by_rounding_are_never_learned():
    spectrum = Spectrum.of(torch.diag(torch.tensor([1.0, -1e-12], dtype=torch.float64)))
    assert retrieved(spectrum, torch.tensor([0.0, 1.0]), [1e12, 1e15]).tolist() == [0, 0]
    assert float(random_retrieved(spectrum, 1e15)) == pytest.approx(0.5**0.5)


def test_what_is_refused_retrieval(gram):
    with pytest.raises(SettingError, match="numbers of at least 0"):
        retrieved(Spectrum.of(gram), torch.arange(30.0), torch.tensor([-1.0]))
    with pytest.raises(DataError, match="no energy"):
        retrieved(Spectrum.of(gram), torch.zeros(30), TIMES)
