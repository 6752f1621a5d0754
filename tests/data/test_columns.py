"""What columns hold."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from selfdistill._core.errors import DataError
from selfdistill.data import _arrow_types, _columns
from selfdistill.data._read import read, read_new


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (["1", " 2.5 ", "-1e3", "+4"], [1, 2.5, -1000, 4]),
        (["1", "", "NA", "NaN", "null", "?"], [1] + [np.nan] * 5),
        ([True, False, None], [1, 0, np.nan]),
        ([1, 2, None], [1, 2, np.nan]),
        ([Decimal("1.5"), None], [1.5, np.nan]),
        (["1_000", "2"], 0),
        (["1", "2,5"], 1),
        (["0x10"], 0),
        ([None, None], [np.nan, np.nan]),
    ],
)
def test_numbers(values, want):
    got = _columns.parse_numbers(column(values), "c")
    if isinstance(want, int):
        assert got == want
    else:
        np.testing.assert_array_equal(got, np.array(want, float))


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (["01000", "99000"] * 20, "categorical", "whole numbers with leading zeros and is taken as words; --numeric"),
        (["01000", "99000", "?", None] * 20, "categorical", "leading zeros"),
        ([f"0{i * i * 7}" for i in range(40)], "none", "different word in every row"),
        ([f"{i:04}" for i in range(40)], "none", "counts or names"),
        (["01.5", "0.25", "0"] * 20, "numeric", ""),
        (["-01", "2"] * 20, "numeric", ""),
        (["[0.1, 0.2]", "[1e3 -4]"] * 9, "vector", "lists of numbers as text"),
        (["[0.1, 0.2]", "[1]"] * 9, "categorical", ""),
        (["[0.1, 0.2]", "[x, y]"] * 9, "categorical", ""),
        (["[0.1, 0.2, -]", "[1, 2, 3]"] * 9, "categorical", ""),
        ([f"[{i}, 2]" for i in range(9)] + [None], "vector", "lists"),
    ],
)
def test_numbers_that_measure_nothing(values, kind, message):
    found = _columns.find_kind(column(values), "c")
    assert found.kind == kind
    assert message in found.note
    assert bool(message) == bool(found.note)


@pytest.mark.parametrize(
    "series", [pd.Series([1, 2, 3] * 9), pd.Series([0.5, None, 2.0] * 9), pd.Series(["1", "2"] * 9)]
)
def test_numbers_of_a_category_stay_categories(series):
    table = _arrow_types.as_table(pd.DataFrame({"c": series.astype("category")}))
    assert _columns.find_kind(table["c"], "c").kind == "categorical"
    many = _arrow_types.as_table(pd.DataFrame({"c": pd.Series(range(0, 1500, 30)).astype("category")}))
    assert _columns.find_kind(many["c"], "c").kind == "categorical"


def test_lists_in_cells_of_a_csv(tmp_path):
    rows = [f'"[{i}.5, {i % 3}]",{"ab"[i % 2]}' for i in range(20)]
    (tmp_path / "t.csv").write_text("emb,label\n" + "\n".join(rows))
    (tmp_path / "new.csv").write_text('emb\n"[2.5 2.]"\n')
    data = read(tmp_path / "t.csv")
    assert data.inputs.shape == (20, 2)
    np.testing.assert_array_equal(
        read_new(tmp_path / "new.csv", data.preprocess, data.classes).inputs, data.inputs[2:3]
    )


def test_numbers_that_are_none():
    with pytest.raises(DataError, match=r"column 'c' holds numbers, but row 1 \(counted from 0\) has 'many'"):
        _columns.as_numbers(column(["1", "many"]), "c")
    for values in (["1", "inf"], [1.0, float("-inf")], ["1", "1e999"]):
        with pytest.raises(DataError, match=r"column 'c' holds an infinite value in row 1"):
            _columns.as_numbers(column(values), "c")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["red", "blue"] * 5, "categorical"),
        (["yes"] * 4, "categorical"),
        (["a nice song", "a bad one", "what is this", "so good"], "text"),
        ([f"word{i % 300} and more" for i in range(400)], "text"),
        (["x" * 200, "y" * 200] * 5, "text"),
        ([str(i) for i in range(10)], "numeric"),
        ([f"song{i}.mp3" for i in range(10)], "none"),
        ([None] * 4, "none"),
        ([f"c{i % 1000}" for i in range(30_000)], "categorical"),
        ([f"c{i % 1001}" for i in range(30_000)], "text"),
    ],
)
def test_kinds(values, kind):
    assert _columns.find_kind(column(values), "c").kind == kind


def test_row_counters_are_not_used():
    found = _columns.find_kind(column(["0", "1", "2"]), "Unnamed: 0")
    assert found.kind == "none"
    assert "only counts or names the rows" in found.note
    assert _columns.find_kind(column(["5", "1", "2"]), "index").kind == "numeric"
    assert _columns.find_kind(column(["0", "1", "2"]), "age").kind == "numeric"


@pytest.mark.parametrize(
    ("values", "name", "counts"),
    [
        (np.random.default_rng(0).permutation(100), "idx", True),
        (np.random.default_rng(0).permutation(100), "age", True),  # a shuffled counter, whatever its name
        (np.sort(np.random.default_rng(0).choice(140, 100, replace=False)), "row", True),  # of which rows were dropped
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "user_id", True),
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "PassengerId", True),
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "timestamp", True),
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "price", False),
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "paid", False),
        (np.random.default_rng(0).choice(10**6, 100, replace=False), "humidity", False),
        (np.random.default_rng(0).integers(80, size=100), "age", False),
        (np.random.default_rng(0).normal(size=100), "user_id", False),
        (np.arange(12), "size", False),
    ],
)
def test_numbers_that_count_or_name_rows_are_not_used(values, name, counts):
    found = _columns.find_kind(column(values.tolist()), name)
    assert (found.kind == "none") == counts
    assert ("--numeric " + name in found.note) == counts


@pytest.mark.parametrize(
    "cell",
    ["-", ".", "--", "*", "#N/A", "#VALUE!", "n.a.", "missing", "unknown", r"\N", "(null)", "Missing", " - "],
)
def test_usual_words_for_a_missing_number_are_missing(cell):
    values = [str(i * 1.5) for i in range(5)] + [cell]
    found = _columns.find_kind(column(values), "x")
    assert found == ("numeric", "")
    assert np.isnan(_columns.as_numbers(column(values), "x")).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("cell", ["<0.1", "1O.5", "see note", "3,5", "1_000"])
def test_few_odd_cells_among_numbers_are_missing_and_told(cell):
    values = [str(i * 1.5) for i in range(40)] + [cell]
    found = _columns.find_kind(column(values), "x")
    assert found.kind == "numeric"
    assert f"numbers except for 1 cell such as {cell!r}, which count as missing; --categorical x" in found.note
    assert np.isnan(_columns.as_numbers(column(values), "x")).sum() == 1
    assert _columns.odd_cells(column(values), "x", _columns.as_numbers(column(values), "x")) == [cell]


def test_many_odd_cells_make_words():
    values = [str(i % 7) for i in range(40)] + ["5+"] * 3
    assert _columns.find_kind(column(values), "x").kind == "categorical"


def test_the_minus_of_typesetters_is_one():
    assert _columns.as_numbers(column(["\u22121.5", "2"]), "x").tolist() == [-1.5, 2.0]


def test_dates_are_texts_with_a_note():
    days = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)] * 3
    found = _columns.find_kind(column(days), "day")
    assert found.kind == "categorical"
    assert "column 'day' holds dates" in found.note
    assert _columns.as_strings(column(days), "day")[0] == "2020-01-01"


def test_frames_become_tables():
    frame = pd.DataFrame({"a": [1, "x", None], 7: pd.Categorical(["u", "v", None]), "n": [1.0, np.nan, 2.0]})
    table = _arrow_types.as_table(frame)
    assert table.column_names == ["a", "7", "n"]
    assert _columns.as_strings(table["a"], "a").tolist() == ["1", "x", None]
    assert _columns.as_strings(table["7"], "7").tolist() == ["u", "v", None]
    assert table["n"].null_count == 1


def test_what_is_no_table():
    with pytest.raises(DataError, match="expected a table, but got ndarray"):
        _arrow_types.as_table(np.zeros((2, 2)))
    with pytest.raises(DataError, match="more than one column named 'a'"):
        _arrow_types.as_table(pd.DataFrame(np.zeros((1, 2)), columns=["a", "a"]))
    with pytest.raises(DataError, match=r"column 'c' holds list<.*>, but columns must hold"):
        _columns.as_strings(column([["x"], ["y"]]), "c")
    assert _columns.find_kind(column([[1], [2]]), "c").kind == "vector"


@pytest.mark.parametrize(
    ("csv", "typed"),
    [
        (["1", "2", "1"], pa.array([1.0, 2.0, None])),
        (["True", "False", "True"], pa.array([True, False, None])),
        (
            ["2024-01-03", "2024-02-01", "x"],
            pa.array([datetime.datetime(2024, 1, 3), datetime.datetime(2024, 2, 1), None]),
        ),
    ],
)
def test_a_category_is_spelled_alike_wherever_it_comes_from(csv, typed):
    """A gap turns integers to floats, Parquet has types, CSV has texts: predictions must not depend on it."""
    from_csv = _columns.as_strings(pa.chunked_array([pa.array(csv)]), "c")
    from_typed = _columns.as_strings(pa.chunked_array([typed]), "c")
    assert from_csv[:2].tolist() == from_typed[:2].tolist()
    assert from_typed[2] is None
