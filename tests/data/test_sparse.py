"""Sparse matrices keep the scales of their columns."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import SparsePreprocess, as_dense
from selfdistill.data._fitted import TEXT_WEIGHT
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import from_arrays

DENSE = np.random.default_rng(0).random((30, 7)) * (np.random.default_rng(1).random((30, 7)) < 0.3) * np.arange(1, 8)
Y = ["a", "b"] * 15


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_array, sp.coo_matrix, sp.lil_matrix])
def test_one_factor_for_all(kind):
    data = from_arrays(kind(DENSE), Y)
    lengths = np.sqrt(np.square(DENSE).sum(1).mean())
    np.testing.assert_allclose(data.inputs, DENSE * TEXT_WEIGHT / lengths, rtol=1e-6)
    assert data.preprocess.scaled
    assert data.preprocess.facts() == "7 numbers, not standardised"
    assert torch.equal(data.preprocess.apply(DENSE), data.inputs)
    again = Preprocess.from_state(*data.preprocess.to_state())
    assert torch.equal(again.apply(kind(DENSE)), data.inputs)


def test_an_array_is_standardised_and_a_text_column_is_not():
    assert not from_arrays(DENSE, Y).preprocess.scaled


def test_a_users_own_network_gets_numbers_as_they_are():
    np.testing.assert_array_equal(from_arrays(sp.csr_array(DENSE), Y, form="user").inputs, DENSE.astype(np.float32))


def test_what_is_refused(monkeypatch):
    made = SparsePreprocess.fit(sp.csr_array(DENSE))
    with pytest.raises(DataError, match=r"has shape \(30, 2\), but training had 7 columns"):
        made.apply(sp.csr_array(DENSE)[:, :2])
    bad = DENSE.copy()
    bad[4, 3] = np.nan
    for call in (SparsePreprocess.fit, made.apply):
        with pytest.raises(DataError, match="NaN in row 4, column 3"):
            call(sp.csr_array(bad))
    with pytest.raises(DataError, match=r"1,000,000 x 1,000,000 takes 3,725.3 GiB when written.*TruncatedSVD\(256\)"):
        as_dense(sp.csr_array((10**6, 10**6)))
    spec, tensors = made.to_state()
    for change in ({"factor": float("nan")}, {"factor": -1.0}, {"factor": "x"}, {"columns": 0}):
        with pytest.raises(DataError, match="damaged"):
            Preprocess.from_state(spec | change, tensors)


@pytest.mark.parametrize("value", [1e-30, 1e30, 0.0])
def test_extreme_values(value):
    made = SparsePreprocess.fit(sp.csr_array(np.eye(3) * value))
    assert made.apply(sp.csr_array(np.eye(3) * value)).isfinite().all()
