"""Labels as texts, and their checks."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.data import _labels
from selfdistill.data._source import from_arrays


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, None],
        np.array([1.0, 2.0, np.nan]),
        np.array([[1.0], [2.0], [np.nan]]),
        pd.Series([1, 2, None]),
        pd.Series([1, 2, pd.NA], dtype="Int64"),
        pd.Series(["1", "2", None], dtype="category"),
        pa.chunked_array([[1, 2, None]]),
        torch.tensor([1.0, 2.0, float("nan")]),
        ["1", "2", ""],
        [b"1", b"2", b"nan"],
    ],
    ids=lambda values: type(values).__name__,
)
def test_one_spelling_for_every_form(values):
    assert _labels.texts(values).tolist() == ["1", "2", None]


def test_spelling_keeps_spaces_and_unicode():
    assert _labels.texts([" größe ", "日本", True, np.bool_(False), 2.5, np.int8(-3), "NA", "None"]).tolist() == [
        " größe ", "日本", "True", "False", "2.5", "-3", "NA", "None",
    ]  # fmt: skip


def test_two_columns_of_labels():
    with pytest.raises(DataError, match=r"labels have shape \(2, 2\)"):
        _labels.texts(np.zeros((2, 2)))


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_numbers_sort_by_value(numbers):
    assert [int(name) for name in _labels.class_order(map(str, numbers))] == sorted(set(numbers))


def test_other_names_sort_as_texts():
    assert _labels.class_order(["10", "9", "a"]) == ("10", "9", "a")
    assert _labels.class_order(["nan", "2", "inf", "10"]) == ("10", "2", "inf", "nan")
    assert _labels.class_order(["1", "1.0"]) == ("1", "1.0")


@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip() and _labels.text_of(t)), min_size=1))
def test_encoding_can_be_undone(names):
    array = _labels.texts(names)
    classes = _labels.class_order(array)
    assert [classes[code] for code in _labels.encode(array, classes)] == names


def test_ids():
    _labels.check_ids(_labels.texts(["a", "b"]), "here")
    with pytest.raises(DataError, match=r"here repeats the id 'a' \(rows 0 and 2\)"):
        _labels.check_ids(_labels.texts(["a", "b", "a"]), "here")
    with pytest.raises(DataError, match=r"here has no id in row 1"):
        _labels.check_ids(_labels.texts(["a", ""]), "here")


def test_warnings():
    warnings = _labels.label_warnings(["NA", "cat", "Cat ", "x"], [1, 5, 5, 1])
    assert warnings[0].startswith("2 classes have one example ('NA', 'x')")
    assert warnings[1].startswith("'NA' is taken as a class")
    assert warnings[2].startswith("classes 'cat' (5 rows) and 'Cat ' (5 rows) differ only in case, spaces, accents or")
    assert len(warnings) == 3


def test_near_matches():
    assert _labels.near_matches("Label", ["LABEL", "x"]).startswith("Did you mean 'LABEL'?")
    assert _labels.near_matches("q", [f"c{i}" for i in range(30)]).endswith("... (30 in all).")


@pytest.mark.parametrize(
    ("values", "options", "want"),
    [
        (["null", "a"] * 3, {}, ["null", "a"] * 3),
        (["null", "NaN", "a"] * 3, {}, ["null", "NaN", "a"] * 3),
        (["null", "a"] * 3, {"drop": True}, [None, "a"] * 3),
        (["null", "a", ""], {}, [None, "a", None]),
        (["nan"] + ["a"] * 30, {}, [None] + ["a"] * 30),
        (["nan"] + ["a"] * 30, {"literal": True}, ["nan"] + ["a"] * 30),
        (["null", "a", None], {"literal": True}, ["null", "a", None]),
        ([float("nan"), "a"], {"literal": True}, [None, "a"]),
    ],
)
def test_words_that_look_like_missing_labels(values, options, want):
    got = _labels.given_texts(values, **options)
    assert got.tolist() == want
    assert _labels.given_texts(got, **options).tolist() == want


RNG = np.random.default_rng(0)
PRICES = RNG.choice(10**6, 380, replace=False)


@pytest.mark.parametrize(
    "values",
    [
        np.r_[PRICES, PRICES[:20]],
        np.r_[0:300, RNG.integers(0, 300, 100)],
        np.r_[RNG.choice(450, 300, replace=False), RNG.choice(100, 100)],
        RNG.normal(500, 50, 400).round().astype(int),
        np.array([f"${price:,}" for price in np.r_[PRICES, PRICES[:20]]]),
        np.r_[0:30, [1] * 10] * 7,
    ],
)
def test_measured_integers_are_no_classes(values):
    message = (
        f"of the data are measured, not classes: {len(set(values))} different numbers in {len(values)} rows.* a letter"
    )
    with pytest.raises(DataError, match=message):
        from_arrays(np.ones((len(values), 1)), values)
    as_words = from_arrays(np.ones((len(values), 1)), [f"p{value}" for value in values])
    assert as_words.num_classes == len(set(values))


@pytest.mark.parametrize(
    "values",
    [
        np.r_[PRICES, PRICES],  # two rows of each
        np.r_[0:9000, 0:9000, 0:9000],  # thousands of classes
        np.r_[RNG.permutation(10**5)[:2000].repeat(RNG.integers(3, 8, 2000))],  # codes of products
        np.r_[0:45, 0:20],  # few
        np.r_[0:10, [3]],
        np.minimum(RNG.exponential(30, 1000).astype(int), 150),  # a long tail of codes
    ],
)
def test_numbers_that_are_classes(values):
    assert from_arrays(np.ones((len(values), 1)), values).num_classes == len(set(values))


def test_numbers_that_may_be_measured_are_warned_of():
    ages, codes = np.tile(np.arange(18, 90), 5), np.tile(np.arange(72), 5)
    message = "the classes are 72 different numbers, 18 to 89: if they are measured, such as ages, sort them into"
    assert from_arrays(np.ones((360, 1)), ages).warnings[0].startswith(message)
    assert not from_arrays(np.ones((360, 1)), codes).warnings


@pytest.mark.parametrize(
    ("labels", "lists", "tags"),
    [
        (["a|b", "a|c", "b|c", "a|b|c", "a"], 4, 3),
        (["sci fi|b", "sci fi|c", "b|c", "sci fi|b|c", "d|b"], 5, 4),
        (["a;b", "a;c", "b;c", "a;b;c"], 4, 3),
        (["a, b", "a, c", "b, c", "a, b, c", "c"], 4, 3),
    ],
)
def test_lists_of_tags_are_no_classes(labels, lists, tags):
    with pytest.raises(
        DataError, match=rf"of t are lists of tags, such as .*: {lists} lists of {tags} tags, .* of each"
    ):
        _labels.check_discrete(labels, [100 // len(labels)] * len(labels), "t")


@pytest.mark.parametrize(
    "labels",
    [
        ["Paris, France", "Lyon, France", "Rome, Italy", "Bari, Italy", "Pisa, Italy"],
        ["a|b", "c|d", "e|f", "g|h"],
        ["a|b", "a|c", "b|c"],
        ["no, never", "yes, ever", "no, ever", "yes, never at all", "x"],
    ],
)
def test_classes_with_marks_in_their_names(labels):
    _labels.check_discrete(labels, [100 // len(labels)] * len(labels), "t")


def test_a_long_label_is_shortened():
    warnings = _labels.label_warnings(["x" * 10_000, "y"], [1, 5])
    assert len(warnings[0]) < 300


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.bool_(True), "True"),
        (np.float32(0.1), "0.1"),
        (2.0**53 - 1, "9007199254740991"),
        (2.0**53, "9007199254740992.0"),
        (Decimal("1.50"), "1.5"),
        (Decimal("100"), "100"),
        (Decimal("NaN"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (b" ", None),
        ("NULL", None),
        ("nullable", "nullable"),
    ],
    ids=repr,
)
def test_every_kind_of_value_has_one_spelling(value, text):
    assert _labels.text_of(value) == text
    assert _labels.text_of("null", keep={"null"}) == "null"
