"""Values with one row for each example: what is passed on, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.rows import check_finite, checked_rows


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
