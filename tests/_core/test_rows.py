"""Values with one row for each example: what is passed on, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.rows import check_finite, checked_rows, left_out


def test_arrays_that_cannot_be_written_to_are_read():
    values = np.arange(4.0)
    values.setflags(write=False)
    assert checked_rows(values, 4, "labels").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(3,), (5, 2), (4, 1, 1)])
def test_another_number_of_rows_or_axes_is_refused(shape):
    with pytest.raises(DataError, match=r"labels has shape .*kernel has 4 examples.*\[4\] or \[4, c\]"):
        checked_rows(torch.zeros(shape), 4, "labels")


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 2, 3)])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_the_first_row_that_is_not_finite_is_named(shape, bad):
    rows = torch.zeros(shape)
    check_finite(rows, "it has", "Clean it.")
    rows[2:] = bad
    with pytest.raises(DataError, match=r"it has NaN or infinite values, the first in row 2\. Clean it\."):
        check_finite(rows, "it has", "Clean it.")


@pytest.mark.parametrize("each", [1, 3])
def test_left_out_equals_refits_of_ridge_regression_on_features(each):
    g = torch.Generator().manual_seed(0)
    n, c = 8, 0.3
    x = torch.randn(n * each, 5, generator=g, dtype=torch.float64)
    y = torch.randn(n * each, 1 if each > 1 else 2, generator=g, dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64)
    hat = x @ torch.linalg.solve(x.T @ x + c * eye, x.T)
    found = []
    for i in range(n):
        kept = torch.arange(n * each) // each != i
        weights = torch.linalg.solve(x[kept].T @ x[kept] + c * eye, x[kept].T @ y[kept])
        found.append(x[~kept] @ weights)
    expected, residuals = torch.cat(found), y - hat @ y
    if each == 1:
        ours = left_out(y, residuals, 1 - hat.diagonal()[:, None])
    else:
        rest = torch.eye(n * each, dtype=torch.float64) - hat
        blocks = torch.stack([rest[i : i + each, i : i + each] for i in range(0, n * each, each)])
        ours = left_out(y.view(n, each, 1), residuals.view(n, each, 1), blocks).reshape(y.shape)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
