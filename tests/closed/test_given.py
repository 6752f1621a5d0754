"""Labels and weights from outside: what is taken, and what is refused by name."""

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill.closed._given import Given, as_given, check_given

SOFT = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0], [0.1, 0.8, 0.1]])


def test_labels_become_distributions() -> None:
    found = check_given(torch.tensor([2, 0]), 3)
    assert found.targets(torch.float64).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.total == len(found) == 2
    assert found.taught() is None


def test_distributions_are_told_by_their_likeliest_class() -> None:
    found = check_given(SOFT.astype(np.float32), 3)
    assert found.codes.tolist() == [0, 2, 1]
    torch.testing.assert_close(found.targets(torch.float64), torch.from_numpy(SOFT), rtol=0, atol=1e-6)


def test_rows_are_taken_with_all_that_belongs_to_them() -> None:
    found = check_given(SOFT, 3, [1.0, 0.0, 2.5])
    assert found.total == pytest.approx(3.5)
    assert found.taught().tolist() == [0, 2]
    for rows in ([2, 0], np.array([False, True, True]), slice(1, 3)):
        part = found[rows]
        np.testing.assert_array_equal(part.codes, found.codes[rows])
        np.testing.assert_array_equal(part.soft, SOFT[rows])
        np.testing.assert_array_equal(part.weights, found.weights[rows])
    assert found.mean(np.array([1.0, 9.0, 8.0])) == pytest.approx((1 + 2.5 * 8) / 3.5)


def test_weights_of_one_are_none() -> None:
    assert check_given([0, 1], 2, [1, 1]).weights is None
    assert as_given(np.array([0, 1]), 2).weights is None
    whole = Given(np.array([0, 1]), 2)
    assert as_given(whole, 2) is whole


def test_sixteen_bit_rows_are_divided_by_their_sum() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(300), 20).astype(np.float16)
    found = check_given(rows, 300)
    np.testing.assert_allclose(found.targets(torch.float64).sum(1), 1, atol=5e-3)
    assert np.abs(found.soft.astype(np.float64).sum(1) - 1).max() <= np.abs(rows.astype(np.float64).sum(1) - 1).max()


@pytest.mark.parametrize(
    ("labels", "weights", "text"),
    [
        ([0, 0], None, "the labels hold 1 class, but at least 2"),
        ([0, 3], None, "labels run from 0 to 3, outside 0 to 2"),
        ([[1.0, 0.0], [0.0, 1.0]], None, r"float64 of shape \(2, 2\), but must be floats with 3 columns"),
        ([[1, 0, 0], [0, 1, 0]], None, "int64 of shape"),
        ([[1.0, 0, 0], [0, 0.5, 0.4]], None, "row 1 of the label distributions holds 0 to 0.5 and sums to 0.9"),
        ([[1.2, -0.2, 0], [0, 0.5, 0.5]], None, "row 0 of the label distributions holds -0.2 to 1.2"),
        ([[np.nan, 0, 1], [0, 0.5, 0.5]], None, "row 0 of the label distributions holds nan"),
        ([[1.0, 0, 0], [1.0, 0, 0]], None, "the labels hold 1 class"),
        ([0, 1], [1.0], r"2 labels, but the weights have shape \(1,\)"),
        ([0, 1], [1.0, -1.0], "the weight of row 1 is -1.0"),
        ([0, 1], [np.inf, 1.0], "the weight of row 0 is inf"),
        ([0, 1, 1], [0.0, 2.0, 2.0], "but hold 1 and sum"),
        ([[1.0, 0, 0], [0, 1.0, 0]], [0.0, 2.0], "but hold 1 and sum"),
        ([0, 1], [0.5, 0.5], "but hold 2 and sum to 1"),
    ],
)
def test_bad_labels_and_weights_are_named(labels: list, weights: list | None, text: str) -> None:
    with pytest.raises(DataError, match=text):
        check_given(np.array(labels), 3, weights)


def test_rounding_breaks_no_tie_of_votes() -> None:
    shares = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.25, 0.375, 0.375]])
    nudged = shares + np.array([[-1e-7, 1e-7, 0.0], [0.0, -1e-7, 1e-7], [0.0, -1e-7, 1e-7]])
    for one in (shares, shares.astype(np.float32), nudged, nudged.astype(np.float32)):
        assert check_given(one, 3).codes.tolist() == [0, 1, 1]
