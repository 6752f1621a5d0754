"""Inputs are read in blocks, wherever they lie, and become the same unit rows."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from selfdistill._core.errors import DataError
from selfdistill.closed._rows import Rows
from selfdistill.networks._kernel_machine import unit_rows

CPU = torch.device("cpu")


class Made:
    """Inputs that are made when they are asked for."""

    def __init__(self, inputs: np.ndarray) -> None:
        self.inputs, self.shape, self.asked = inputs, inputs.shape, 0

    def __getitem__(self, rows) -> torch.Tensor:
        found = torch.from_numpy(self.inputs.copy())[rows]
        self.asked = max(self.asked, len(found))
        return found


def rows_of(inputs, **more) -> Rows:
    return Rows(inputs, **{"standardise": True, "dtype": torch.float64, "device": CPU} | more)


@pytest.fixture
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal([5.0, -300.0, 0.0, 2.0], [1.0, 40.0, 1e-3, 0.0], (97, 4))


@pytest.mark.parametrize("weights", [None, np.arange(97) % 3 + 0.5], ids=["even", "weighted"])
def test_rows_are_those_of_scikit_learn(inputs, weights, monkeypatch) -> None:
    monkeypatch.setattr("selfdistill.closed._rows._BLOCK", 4 * 10)
    made = rows_of(inputs, weights=weights)
    standard = torch.from_numpy(StandardScaler().fit_transform(inputs, sample_weight=weights))
    standard[:, 3] = 0  # it leaves a constant column as it is, centred
    assert made.constant == pytest.approx(3**0.5)
    for rows in (slice(0, 97), slice(20, 31), torch.tensor([5, 90, 3])):
        torch.testing.assert_close(made(rows), unit_rows(standard[rows], 3**0.5), rtol=0, atol=1e-10)


def test_without_standardising_only_the_constant_is_measured(inputs) -> None:
    made = rows_of(inputs, standardise=False)
    assert made.constant == pytest.approx(np.sqrt((inputs**2).sum(1).mean()))
    torch.testing.assert_close(
        made(slice(0, 97)), unit_rows(torch.from_numpy(inputs), made.constant), rtol=0, atol=1e-12
    )


def test_all_holders_give_the_same_rows(inputs, tmp_path) -> None:
    half = inputs.astype(np.float16)
    np.save(tmp_path / "X.npy", half)
    held = Made(half)
    holders = [
        torch.from_numpy(half),
        half,
        np.load(tmp_path / "X.npy", mmap_mode="r"),
        np.asfortranarray(half),
        half.astype(">f2"),
        half.reshape(97, 2, 2),
        held,
    ]
    for dtype in (torch.float32, torch.float64):
        made = [rows_of(holder, dtype=dtype) for holder in holders]
        for one in made[1:]:
            for rows in (slice(3, 60), torch.tensor([5, 90, 3])):
                assert torch.equal(one(rows), made[0](rows))


def test_no_more_than_a_block_is_read_at_once(inputs, monkeypatch) -> None:
    monkeypatch.setattr("selfdistill.closed._rows._BLOCK", 4 * 10)
    held = Made(inputs)
    rows_of(held)
    assert held.asked == 10


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(inputs, bad: float) -> None:
    inputs[50, 2] = bad
    for standardise in (True, False):
        with pytest.raises(DataError, match="not finite"):
            rows_of(inputs, standardise=standardise)


def test_columns_that_do_not_vary_are_refused(inputs) -> None:
    with pytest.raises(DataError, match="no column of the inputs varies"):
        rows_of(inputs[:, 3:])
    with pytest.raises(DataError, match="no column of the inputs varies"):
        rows_of(inputs, weights=np.where(np.arange(97) == 3, 5.0, 0.0))
