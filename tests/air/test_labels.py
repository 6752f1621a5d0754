"""Label matrices; noise is what the clean labels do not explain."""

from __future__ import annotations

import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.air import noise_part
from selfdistill.air._measures import centred, one_hot, transition_counts
from selfdistill.air._stopping import wrong_share


def symmetric_matrix(classes, wrong):
    return torch.full((classes, classes), wrong / (classes - 1)).double().fill_diagonal_(1 - wrong)


def drawn(n, classes, wrong, seed=0):
    g = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, classes, (n,), generator=g)
    move = torch.rand(n, generator=g) < wrong
    return torch.where(move, (clean + torch.randint(1, classes, (n,), generator=g)) % classes, clean), clean


def test_noise_has_the_variance_of_its_matrix_and_no_signal():
    given, clean = drawn(60_000, 4, 0.3)
    known = noise_part(given, clean, 4, symmetric_matrix(4, 0.3))
    variance = 1 - 0.7**2 - 3 * 0.1**2
    assert float(known.square().sum(1).mean()) == pytest.approx(variance, abs=0.01)
    measured = noise_part(given, clean, 4)
    assert (measured.T @ one_hot(clean, 4)).abs().max() < 1e-6
    raw = one_hot(given, 4) - one_hot(clean, 4)  # holds a copy of the signal, with the sign turned
    signal = centred(one_hot(clean, 4))
    assert float((raw * signal).sum() / signal.square().sum()) == pytest.approx(-0.3 * 4 / 3, abs=0.01)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("wrong", [0.0, 0.2, 0.45])
def test_wrong_share_undoes_the_variance(classes, wrong):
    variance = 1 - float(symmetric_matrix(classes, wrong)[0].square().sum())
    assert wrong_share(variance, classes) == pytest.approx(wrong, abs=1e-7)
    assert wrong_share(5.0, classes) == pytest.approx((classes - 1) / classes)


def test_a_class_without_examples_keeps_its_row():
    assert transition_counts(torch.tensor([0, 1]), torch.tensor([0, 0]), 3)[1:].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_what_is_refused():
    with pytest.raises(DataError, match="labels go from 0 to 3, but must be whole, 0 to 2"):
        one_hot(torch.tensor([0, 3]), 3)
    with pytest.raises(DataError, match="labels have shape"):
        one_hot(torch.zeros(2, 2, dtype=torch.int64), 3)
    with pytest.raises(DataError, match="2 given labels, but 1 true ones"):
        noise_part(torch.tensor([0, 1]), torch.tensor([0]), 2)
    with pytest.raises(DataError, match=r"shape \(3, 3\) for 2 classes"):
        noise_part(torch.tensor([0, 1]), torch.tensor([0, 1]), 2, torch.eye(3))
