"""Alignment against its formula on matrices, and bounds that hold the whole kernel's value."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air import kernel_alignment, one_hot, subspace_overlap, target_alignment
from selfdistill.theory import Spectrum


def cosine(a, b, centre):
    h = torch.eye(len(a)).double() - 1 / len(a) if centre else torch.eye(len(a)).double()
    a, b = h @ a @ h, h @ b @ h
    return float((a * b).sum() / a.norm() / b.norm())


@pytest.fixture
def other(gram):
    g = torch.Generator().manual_seed(3)
    j = torch.randn(30, 40, generator=g).double() * 0.8 ** torch.arange(40)
    return gram + 2 * j @ j.T + 1.5


@pytest.mark.parametrize("centre", [True, False])
def test_naive_twins_and_bounds(gram, other, labels, centre):
    z = one_hot(labels, 3)
    expected = cosine(other, z @ z.T, centre)
    assert float(target_alignment(Spectrum.of(other), z, centre=centre).low) == pytest.approx(expected, rel=1e-9)
    part = target_alignment(Spectrum.of(other, k=4), z, centre=centre)
    assert part.low < expected < part.high
    expected = cosine(gram, other, centre)
    assert float(kernel_alignment(Spectrum.of(gram), Spectrum.of(other), centre=centre).low) == pytest.approx(expected)
    part = kernel_alignment(Spectrum.of(gram, k=8), Spectrum.of(other, k=5), centre=centre)
    assert part.low < expected < part.high <= 1


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
