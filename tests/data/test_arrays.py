"""Vectors, and what a user's own module takes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import StandardScaler

from selfdistill._core.errors import DataError
from selfdistill.data import _arrays
from selfdistill.data._arrays import ArrayPreprocess, UserPreprocess
from selfdistill.data._numerals import codes_in
from selfdistill.data._preprocess import Preprocess


def reload(made):
    spec, tensors = made.to_state()
    return Preprocess.from_state(json.loads(json.dumps(spec)), {k: v.clone() for k, v in tensors.items()})


@given(hnp.arrays(np.float64, (7, 3), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=60)
def test_equals_scikit_learn(X):
    X = np.concatenate([X, np.arange(7.0)[:, None]], axis=1)
    assume(not codes_in(X))  # such as 999999, which stand for missing values
    want = StandardScaler().fit_transform(X)
    got = ArrayPreprocess.fit(X).apply(X).numpy()
    spread = X.std(axis=0) > 1e-9 * np.abs(X).max(axis=0)
    np.testing.assert_allclose(got[:, spread], want[:, spread], rtol=1e-4, atol=1e-5)


def test_wide_arrays_are_cut_in_parts_without_a_seam():
    X = np.random.default_rng(0).normal(size=(9, 200))
    np.testing.assert_allclose(
        ArrayPreprocess.fit(X).apply(X).numpy(), (X - X.mean(0)) / X.std(0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, object])
def test_any_numbers(dtype):
    X = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    assert torch.equal(ArrayPreprocess.fit(X).apply(X), ArrayPreprocess.fit(X.astype(float)).apply(X.astype(float)))


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (np.zeros((2, 3)), r"the array has shape \(2, 3\), but training had 2 columns"),
        (np.zeros(2), r"shape \(2,\)"),
        ([[np.nan, 0.0]], "NaN in row 0, column 0"),
        (np.array([["a", "b"]]), "of type <U1, but must hold numbers"),
        (np.array([["a", 1]], dtype=object), "does not hold numbers"),
    ],
)
def test_new_arrays_that_do_not_fit(new, text):
    with pytest.raises(DataError, match=text):
        ArrayPreprocess.fit([[0.0, 1.0], [1.0, 2.0]]).apply(new)


def test_the_place_of_a_value_that_is_not_finite(monkeypatch):
    X = np.zeros((3000, 6000), np.float32)
    X[2999, 5998] = -np.inf
    with pytest.raises(DataError, match=r"infinite \(-inf\) in row 2999, column 5998"):
        _arrays.check_finite(X)


@pytest.mark.parametrize(
    ("raw", "dtype"),
    [
        (np.ones((2, 5)), torch.float32),
        (np.ones((2, 5), np.int32), torch.int64),
        (np.ones((2, 3, 4), np.uint8), torch.uint8),
    ],
)
def test_user_inputs(raw, dtype):
    made = reload(UserPreprocess.fit(raw))
    assert made.apply(raw).dtype == dtype
    assert made.input_shape == raw.shape[1:]
    assert made.stats is None
    with pytest.raises(DataError, match="but training had"):
        made.apply(np.ones((2, 9)))


def test_user_integers_stay_integers():
    with pytest.raises(DataError, match="inputs are float64, but training had int64"):
        UserPreprocess.fit([[1, 2]]).apply([[1.0, 2.0]])


def test_reloaded_arrays_give_equal_bits():
    X = np.random.default_rng(0).normal(size=(9, 4))
    made = ArrayPreprocess.fit(X)
    assert torch.equal(reload(made).apply(X), made.apply(X))
    assert made.facts() == "4 numbers"
    assert made.input_shape == (4,)


def test_a_column_that_is_constant_up_to_rounding_becomes_zeros():
    X = np.column_stack(
        [
            np.resize([0.1, np.nextafter(0.1, 1)], 7),
            np.arange(7.0),
            np.full(7, 1e308),
            np.array([1e308, -1e308, 0, 0, 0, 0, 0]),
        ]
    )
    scale, mean, std = _arrays.column_scales(X)
    assert std[[0, 2]].tolist() == [0, 0]
    assert np.isfinite([scale, mean, std]).all()
    np.testing.assert_allclose((X / scale)[:, [1, 3]].std(0), std[[1, 3]])
    assert not ArrayPreprocess.fit(X).apply(X)[:, [0, 2]].any()


def test_new_numbers_far_from_those_of_training_are_warned_of():
    X = np.random.default_rng(0).normal(5, 1, (50, 3))
    X[:, 1] = 2.0
    made = ArrayPreprocess.fit(X)
    assert made.doubts(X) == []
    assert made.doubts(X[:1] * 1000) == []
    assert made.doubts(np.where(np.arange(50)[:, None] < 20, X * 1000, X)) == []
    (message,) = made.doubts(X * 1000)
    median = f"{np.median(X[:, 0]) * 1000:.4g}"
    assert message == (
        f"column 0 (counted from 0) holds other numbers than in training: the median is {median}, in training the mean "
        f"was {X[:, 0].mean():.4g}; so does one more column; check the unit."
    )
