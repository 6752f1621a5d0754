"""Tables become vectors."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _table
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._source import from_frame


def reload(made):
    spec, tensors = made.to_state()
    return Preprocess.from_state(json.loads(json.dumps(spec)), {k: v.clone() for k, v in tensors.items()})


def frame(n=60, seed=0):
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "size": rng.normal(5, 2, n),
            "gap": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "flag": rng.random(n) < 0.5,
            "colour": rng.choice(["red", "blue", "green"], n),
            "words": [f"row {i} says {rng.choice(['yes', 'no', 'perhaps'])} with {i * i} words" for i in range(n)],
        }
    )
    return out, rng.choice(["a", "b"], n)


def test_columns_by_a_slow_twin():
    X, y = frame()
    X.loc[3, "colour"] = None
    data = from_frame(X, y)
    got = data.inputs.numpy()
    filled = X["gap"].fillna(X["gap"].median())
    missing = X["gap"].isna().astype(float)
    want = [X["size"], filled, X["flag"].astype(float), missing]
    for place, values in enumerate(want):
        np.testing.assert_allclose(got[:, place], (values - values.mean()) / values.std(ddof=0), rtol=1e-5, atol=1e-6)
    for place, colour in enumerate(["blue", "green", "red"]):
        np.testing.assert_array_equal(got[:, 4 + place], (X["colour"] == colour).astype(float))
    np.testing.assert_allclose(np.linalg.norm(got[:, 7:], axis=1), 10.0, rtol=1e-6)
    assert data.counts == {"missing_values": int(X["gap"].isna().sum()) + 1}
    assert data.preprocess.kinds == {
        "numeric": ("size", "gap", "flag"),
        "categorical": ("colour",),
        "text": ("words",),
    }
    assert "3 numeric columns, 1 categorical column, 1 text column" in data.preprocess.facts()


def test_reloaded_preprocess_gives_equal_bits():
    X, y = frame()
    made = from_frame(X, y).preprocess
    new, _ = frame(20, seed=1)
    assert torch.equal(reload(made).apply(new), made.apply(new))
    assert torch.equal(reload(made).apply(new[new.columns[::-1]]), made.apply(new))
    assert reload(made).input_shape == made.input_shape


def test_unknown_and_missing_values_at_predict():
    X, y = frame()
    made = from_frame(X, y).preprocess
    new, _ = frame(3, seed=1)
    new.loc[0, "colour"] = "violet"
    new.loc[1, "colour"] = None
    new.loc[0, "size"] = np.nan
    new.loc[1, "words"] = None
    out = made.apply(new).numpy()
    assert not out[:2, 4:7].any()
    assert not out[1, 7:].any()
    assert out[2, 4:7].sum() == 1
    assert abs(out[0, 0] - (X["size"].median() - X["size"].mean()) / X["size"].std(ddof=0)) < 1e-5


def test_columns_that_this_package_wrote_may_be_in_new_data():
    X, y = frame()
    made = from_frame(X, y).preprocess
    written = X.assign(refined_label="a", label_quality=0.5, label_before_noise="a")
    assert torch.equal(made.apply(written), made.apply(X))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X: X.drop(columns=["size", "flag"]), r"missing 'size', 'flag'\. Give"),
        (lambda X: X.assign(extra=1), r"not known from training: 'extra'"),
        (lambda X: X.rename(columns={"size": "Size"}), r"missing 'size'; not known from training: 'Size'"),
        (lambda X: X.assign(lable=1), r"not known from training: 'lable'. Did you mean 'label'\? Give the columns"),
        (lambda X: X.assign(size="big"), r"column 'size' holds numbers, but row 0 \(counted from 0\) has 'big'"),
        (lambda X: X.assign(size=np.inf), r"column 'size' holds an infinite value in row 0"),
    ],
)
def test_new_data_that_does_not_fit(change, text):
    X, y = frame()
    with pytest.raises(DataError, match=text):
        from_frame(X, y).preprocess.apply(change(X))


def test_ignored_columns_may_be_there_or_not():
    X, y = frame()
    X = X.assign(note="x", label=y)
    made = from_frame(X, options=ReadOptions(ignore=("note",))).preprocess
    assert torch.equal(made.apply(X), made.apply(X.drop(columns=["note", "label"])))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8))
@settings(max_examples=200)
def test_any_finite_numbers_give_finite_inputs(numbers):
    X = pd.DataFrame({"x": numbers, "z": range(len(numbers))})
    data = from_frame(X, ["a", "b"] * 4 if len(numbers) == 8 else (["a", "b"] * 4)[: len(numbers)])
    assert torch.isfinite(data.inputs).all()
    assert data.inputs.abs().max() < 10
    far = data.preprocess.apply(pd.DataFrame({"x": [1.7e308, -1.7e308], "z": [0, 1]}))
    assert torch.isfinite(far.square()).all()


def test_rare_categories_share_an_indicator(monkeypatch):
    monkeypatch.setattr("selfdistill.data._fitted.CATEGORY_LIMIT", 2)
    X = pd.DataFrame({"c": ["p"] * 5 + ["q"] * 4 + ["r", "s"]})
    data = from_frame(X, ["a", "b"] * 5 + ["a"])
    np.testing.assert_array_equal(data.inputs.numpy(), [[1, 0, 0]] * 5 + [[0, 1, 0]] * 4 + [[0, 0, 1]] * 2)
    assert "has 4 categories; the rarer 2 count as one" in data.notes[-1]
    assert reload(data.preprocess).apply(pd.DataFrame({"c": ["new", None]})).tolist() == [[0, 0, 1], [0, 0, 0]]


def test_constant_and_lone_columns():
    data = from_frame(pd.DataFrame({"x": [1.0, 2.0, 3.0], "k": 7, "w": "same"}), ["a", "b", "a"])
    assert data.counts == {"constant_columns": 2}
    assert "2 constant columns ('k', 'w') carry no information." in data.warnings
    assert not data.inputs[:, 1].any()
    assert from_frame(pd.DataFrame({"x": [1.0, 2.0]}), ["a", "b"]).inputs.tolist() == [[-1.0], [1.0]]


def test_no_feature_is_left():
    with pytest.raises(
        DataError, match=r"has no feature column left: column 'file' holds a different word in every row"
    ):
        from_frame(pd.DataFrame({"file": ["p1", "q2", "r3"]}), ["a", "b", "a"])
    with pytest.raises(DataError, match=r"column 'file' names image files .* --image-column file to see them"):
        from_frame(pd.DataFrame({"file": ["in/p.jpg", "q.PNG", "r.jpeg"]}), ["a", "b", "a"])
    with pytest.raises(DataError, match="column 'x' is given as `categorical` and as `text`"):
        from_frame(pd.DataFrame({"x": [1, 2]}), ["a", "b"], options=ReadOptions(text=("x",), categorical=("x",)))


def test_kinds_can_be_told():
    X = pd.DataFrame({"year": [1999, 2000, 1999, 2000], "z": [1, 2, 3, 4]})
    data = from_frame(X, ["a", "b", "a", "a"], options=ReadOptions(categorical=("year",)))
    assert data.preprocess.kinds["categorical"] == ("year",)
    assert data.inputs[:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]


def test_text_stays_within_the_budget(monkeypatch):
    monkeypatch.setattr(_table, "_INPUT_BYTES", 4 * 200 * 70)
    X = pd.DataFrame({"t": [f"a{i % 90} b{i % 80} c{i % 99}" for i in range(200)]})
    assert from_frame(X, ["a", "b"] * 100).inputs.shape == (200, 70)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X: X.assign(size=np.nan), "column 'size' is empty; its training median is used"),
        (
            lambda X: X.assign(size=X["size"] * 1000),
            r"column 'size' holds other numbers than in training: the median is 5",
        ),
        (
            lambda X: X.assign(words="совсем иное"),
            "column 'words' holds no word that training knew, such as 'совсем иное'",
        ),
        (
            lambda X: X.assign(colour="violet"),
            "column 'colour' holds categories that were not in training in 60 of 60 rows",
        ),
    ],
)
def test_new_data_that_look_different_are_warned_of_once(change, text):
    X, y = frame()
    made = from_frame(X, y).preprocess
    assert made.doubts(X) == []
    doubts = made.doubts(change(X))
    assert len(doubts) == 1
    assert re.match(text, doubts[0])


def test_one_odd_row_is_no_reason_to_warn():
    X, y = frame()
    made = from_frame(X, y).preprocess
    few = X.copy()
    few.loc[0, ["size", "words"]] = [1e6, "иное"]
    assert made.doubts(few) == []
    assert made.doubts(X.assign(words="иное", size=np.nan).head(1)) == []
