"""Numbers as spreadsheets write them."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._columns import tally
from selfdistill.data._numerals import Notation, Tally, choose_notations
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new

POINT, COMMA = ["0.5", "1.25", "12.5"], ["0,5", "1,25", "12,5"]


def chosen(cells, separator="", options=None, **others):
    columns = {"x": cells} | others
    tallies = {name: tally(pa.chunked_array([pa.array(values)]), name) for name, values in columns.items()}
    return choose_notations(
        {name: found for name, found in tallies.items() if found is not None}, separator, options or ReadOptions()
    )[0].get("x", Notation())


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,5", "2,25", "3"], [1.5, 2.25, 3]),
        (["1,234.50", "873.10", "1,234,567.00"], [1234.5, 873.1, 1234567]),
        (["1.234,50", "873,10", "-1.234.567,00"], [1234.5, 873.1, -1234567]),
        (["1 234", "12 345 678", "5"], [1234, 12345678, 5]),
        (["1\u202f234,5", "12\u00a0345", "5"], [1234.5, 12345, 5]),
        (["1'234.5", "12\u2019345", "5"], [1234.5, 12345, 5]),
        (["$1,234.50", "-$3.10", "$ -4"], [1234.5, -3.1, -4]),
        (["1.234,50 €", "3,1 €", "\u22124 €", "7"], [1234.5, 3.1, -4, 7]),
        (["EUR 5", "EUR 7", "n.a."], [5, 7, math.nan]),
        (["5 %", "7.5%", "-3%"], [5, 7.5, -3]),
        (["12 kg", "7kg", "3.5 kg"], [12, 7, 3.5]),
        (["60 km/h", "7 km/h", "1e2 km/h"], [60, 7, 100]),
        (["1,5e3", "2,5"], [1500, 2.5]),
    ],
)
def test_a_column_alone(cells, numbers):
    notation = chosen(cells)
    got = [notation.number(cell) for cell in cells]
    np.testing.assert_array_equal(got, numbers)


@pytest.mark.parametrize(
    "cells",
    [
        ["item 5", "item 7"],
        ["A12", "A13"],
        ["12.png", "13.png"],
        ["1st", "2nd", "3rd"],
        ["5 kg", "200 g", "3 lb"],
        ["0-10", "10-20"],
        ["12:30", "12:40"],
        ["2024-01-05", "2024-02-05"],
        ["10.0.0.1", "10.0.0.2"],
        ["1,2,3", "4,5,6"],
        ["5 %", "7"],
        ["1,5", "2.5"],
        ["1.2.3", "1.4"],
        ["1,23,4", "5"],
        ["red", "blue"],
    ],
)
def test_what_is_no_column_of_numbers(cells):
    notation = chosen(cells)
    assert any(math.isnan(notation.number(cell)) for cell in cells)


@pytest.mark.parametrize(
    ("cells", "separator", "others", "number"),
    [
        (["3.941", "873"], ";", COMMA, 3941),
        (["3.941", "873"], ";", POINT, 3.941),
        (["3.941", "873"], ",", POINT, 3.941),
        (["3.941", "873"], ",", ["1"], 3.941),
        (["3.941", "873"], "\t", ["1"], 3.941),
        (["3.941", "873"], "", COMMA, 3941),
        (["3,941", "873"], ",", ["1"], 3941),
        (["3,941", "873"], ";", COMMA, 3.941),
        (["3,941", "873"], "\t", POINT, 3941),
        (["3,941", "873", "1,234,567"], ";", ["1"], 3941),
        (["3,941", "0,873"], "\t", POINT, 3.941),
    ],
)
def test_the_separator_and_other_columns_decide_what_a_column_leaves_open(cells, separator, others, number):
    assert chosen(cells, separator, other=others).number(cells[0]) == number


@pytest.mark.parametrize(
    ("cells", "separator", "others"),
    [
        (["3.941", "873"], ";", ["1"]),
        (["3,941", "873"], ";", ["1"]),
        (["3,941", "873"], "\t", ["1"]),
        (["3,941", "873"], "", ["1"]),
        (["3,941", "873"], ",", COMMA),
        (["3,941", "3.941"], ";", ["1"]),
        (["3,941"] * 30 + ["12,34"], "\t", ["1"]),  # one typing error is no sign
    ],
)
def test_an_open_column_is_asked_for(cells, separator, others):
    with pytest.raises(
        DataError, match=r"column 'x' can be read in two ways: '3.941' is 3.* `decimal` \. or `decimal` ,"
    ):
        chosen(cells, separator, other=others)
    for mark, number in ((".", 3.941 if "." in cells[0] else 3941), (",", 3941 if "." in cells[0] else 3.941)):
        assert chosen(cells, separator, ReadOptions(decimal=mark), other=others).number(cells[0]) == number


def test_the_user_overrules():
    assert chosen(["3.941", "873"], ",", ReadOptions(thousands="."), other=POINT).number("3.941") == 3941
    assert chosen(["0.5", "873"], ",", ReadOptions(decimal=",")) == Notation()  # it cannot be read so
    for options, text in (
        (ReadOptions(decimal="x"), "decimal is 'x'. Give a point or a comma"),
        (ReadOptions(thousands="_"), "thousands is '_'"),
        (ReadOptions(decimal=",", thousands=","), "`decimal` and `thousands` are both ','"),
    ):
        with pytest.raises(DataError, match=text):
            chosen(["1"], ",", options)


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'"), (".", ""), (",", "")]),
    st.sampled_from(["{}", "{} €", "${}", "{}%", "{} kg", " {} "]),
)
def test_what_python_formats_comes_back(numbers, marks, form):
    decimal, thousands = marks
    swap = str.maketrans({".": decimal, ",": thousands})
    cells = [form.format(f"{number:,.2f}".translate(swap)) for number in numbers]
    notation = Tally.of(cells).notation(Tally.of(cells).sure())
    assert [notation.number(cell) for cell in cells] == [float(number) for number in numbers]


@pytest.fixture
def european(tmp_path):
    rng = np.random.default_rng(0)
    sizes, prices = rng.uniform(0, 9, 40).round(2), rng.integers(300, 9999, 40)
    path = tmp_path / "d.csv"
    rows = [
        f"{size:.2f};{price:,} €;{'ab'[i % 2]}".replace(",", "!").replace(".", ",").replace("!", ".")
        for i, (size, price) in enumerate(zip(sizes, prices, strict=True))
    ]
    path.write_text("\n".join(["size;price;label", *rows]), encoding="utf-8")
    return path, np.stack([sizes, prices], 1)


def test_a_file_equals_the_one_of_plain_numbers(european, tmp_path):
    path, numbers = european
    plain = pd.DataFrame(numbers, columns=["size", "price"]).assign(label=["a", "b"] * 20)
    plain.to_csv(tmp_path / "plain.csv", index=False)
    got, want = read(path), read(tmp_path / "plain.csv")
    np.testing.assert_allclose(got.inputs, want.inputs, rtol=1e-6)
    assert not got.warnings
    assert sum("decimal commas" in note for note in got.notes) == 2
    assert any(
        "column 'price' is read with decimal commas, points between thousands, the unit '€'" in n for n in got.notes
    )


def test_new_data_are_read_as_in_training(european, tmp_path):
    path, _ = european
    data = read(path)
    spec, tensors = data.preprocess.to_state()
    made = Preprocess.from_state(json.loads(json.dumps(spec)), tensors)
    new = tmp_path / "new.csv"
    new.write_text("size;price\n5,25;1.234 €\n", encoding="utf-8")
    typed = tmp_path / "new.parquet"
    pd.DataFrame({"size": [5.25], "price": [1234]}).to_parquet(typed)
    assert read_new(new, made, data.classes).inputs.tolist() == read_new(typed, made, data.classes).inputs.tolist()
    new.write_text("size;price\n5.25;1.234 €\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"column 'size' holds numbers, but row 0 \(counted from 0\) has '5.25'"):
        read_new(new, made, data.classes)


def test_a_run_of_before_has_no_notation(tmp_path):
    (tmp_path / "d.csv").write_text("size,label\n1.5,a\n2.5,b\n", encoding="utf-8")
    spec, tensors = read(tmp_path / "d.csv").preprocess.to_state()
    assert "notation" not in spec
    Preprocess.from_state(spec, tensors)


def test_the_separator_is_known_after_rows_are_left_out(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("price;size;label\n3.941;1;a\n873;7;b\n2.500;9;\n", encoding="utf-8")
    with pytest.raises(DataError, match="column 'price' can be read in two ways"):
        read(path, ReadOptions(drop_unlabelled=True))
    data = read(path, ReadOptions(drop_unlabelled=True, decimal=","))
    assert data.inputs[:, 0].tolist() == [1.0, -1.0]
    assert not any("'size'" in note for note in data.notes)  # it has no mark to speak of


def test_arrays_have_no_decimal_marks(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.eye(2), y=[0, 1])
    with pytest.raises(DataError, match=r"decimal , does not apply: .* is a file of arrays, but it says how numbers"):
        read(tmp_path / "d.npz", ReadOptions(decimal=","))
