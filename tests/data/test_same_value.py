"""The same value in two formats and in two spellings: labels, categories, numbers."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.data._labels import Places, class_order, encode, label_warnings, near_groups, texts, value_key
from selfdistill.data._read import read, read_new, read_test
from selfdistill.data._source import from_frame

ROWS = 60
PICK = np.random.default_rng(0).integers(0, 2, ROWS)
PICK[:2] = 0, 1


def of(one, other):
    return [(one, other)[pick] for pick in PICK]


def bits(values, kind):
    return pa.array(values).cast(kind)


DATES = of("2020-01-01", "2021-06-30")
ALIKE = {
    "truth": [bits(PICK, pa.bool_()), of("False", "True"), of("false", "true"), of("FALSE", "TRUE")],
    "whole": [
        *(bits(PICK, kind) for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(24, 2))),
        *(of("0", "1"), of("0.0", "1.0"), of("0.00", "+1"), of("-0", "1.")),
    ],
    "fractions": [
        pa.array(PICK + 0.1),
        bits(PICK + 0.1, pa.float32()),
        pa.array([Decimal(f"{k}.10") for k in PICK]),
        of("0.1", "1.1"),
        of("0.10", "+1.100"),
        of(".1", "1.1"),
    ],
    "dates": [
        DATES,
        bits(DATES, pa.date32()),
        bits(DATES, pa.timestamp("ns")),
        pa.array(DATES).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
    ],
    "words": [
        of("caf\u00e9", "two words"),
        of("cafe\u0301", "two words"),
        of("caf\u00e9 ", "two words"),
        of("caf\u00e9\u200b", "two\u00a0 words"),
        pa.array(of("caf\u00e9", "two words")).dictionary_encode(),
    ],
}


def written(folder, name, column, role):
    """A table that holds the column as label or as feature: Parquet where it has a type, else CSV."""
    rng = np.random.default_rng(1)
    columns = {"x": rng.normal(size=ROWS), "label": rng.integers(0, 2, ROWS)} | {role: column}
    if isinstance(column, list):
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)
        return folder / f"{name}.csv"
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


@pytest.mark.parametrize("kind", ALIKE)
def test_a_label_is_the_same_in_every_format(tmp_path, kind):
    files = [written(tmp_path, f"{place}", column, "label") for place, column in enumerate(ALIKE[kind])]
    for trained in files:
        data = read(trained)
        assert data.labels.tolist() == PICK.tolist()
        for tested in files:
            assert read_test(tested, data)[1].tolist() == PICK.tolist(), (trained.name, tested.name)


@pytest.mark.parametrize("kind", ALIKE)
def test_a_feature_is_the_same_in_every_format(tmp_path, kind):
    files = [written(tmp_path, f"{place}", column, "v") for place, column in enumerate(ALIKE[kind])]
    for trained in files:
        data = read(trained)
        for new in files:
            found = read_new(new, data.preprocess, data.classes)
            torch.testing.assert_close(found.inputs, data.inputs, atol=1e-6, rtol=0, msg=f"{trained} {new}")
            assert not found.warnings


@pytest.mark.parametrize(
    ("trained", "name", "place"),
    [
        (["1", "1.0"], "1.00", -1),  # two classes are this value
        (["1", "1.0"], "1.0", 1),
        (["01", "2"], "1", -1),  # leading zeros are those of codes
        (["False", "True"], "1", -1),
        (["cat", "dog"], "Cat", -1),
        (["cat", "dog"], "dog ", 1),
        (["1e3", "2"], "1000", -1),
        (["-1", "+1"], "\u22121", 0),
    ],
)
def test_what_is_the_same_class(trained, name, place):
    assert Places(trained)[name] == place
    assert encode(texts([name]), trained).tolist() == [place]


def test_an_unseen_class_that_is_nearly_a_known_one(tmp_path):
    files = [written(tmp_path, name, of(name, "dog"), "label") for name in ("cat", "Cat")]
    with pytest.raises(DataError, match=r"holds the class 'Cat' .*was not in training. Is it 'cat'\?"):
        read_test(files[1], read(files[0]))


@given(st.text(max_size=6))
def test_a_spelling_of_a_value_is_its_own_spelling(text):
    assert value_key(value_key(text)) == value_key(text)


@given(st.decimals(-1000, 1000, places=3))
def test_numbers_are_alike_where_their_values_are(number):
    same = {f"{number}", f"{number}0", f"{number.normalize():f}", f"{number:+}"}
    assert {Decimal(value_key(text)) for text in same} == {number}
    assert len({value_key(text) for text in same}) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("1", "1.0"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat\u200b"), ("cat", "cat "), ("cat", "CAT"),
        ("a b", "a  b"), ("a b", "a\u00a0b"), ("cat", "\ufeffcat"), ("1", "\uff11"), ("1", "01"), ("True", "TRUE"),
        ("100", "1e2"),
    ],
)  # fmt: skip
def test_nearly_the_same_classes_are_told_with_their_spelling_and_numbers(names):
    labels = [*[names[0]] * 12, *[names[1]] * 3, *["other"] * 5]
    data = from_frame(pd.DataFrame({"x": np.random.default_rng(0).normal(size=20)}), labels)
    assert set(data.classes) == {*names, "other"}
    (warning,) = data.warnings
    shown = [repr(name) if repr(name) in warning else ascii(name) for name in names]
    assert len(set(shown)) == 2
    assert f"{shown[0]} (12 rows)" in warning
    assert f"{shown[1]} (3 rows)" in warning


def test_different_classes_are_no_reason_to_warn():
    assert not near_groups(["a", "b", "1", "2", "a b", "ab", "-1", "0.1", "0.10001", "nan", "inf", "x" * 500])
    assert not near_groups([str(2**53), str(2**53 + 1), "9" * 400, "9" * 399 + "8", "1e999999999", "2e999999999"])
    many = [f"{word}{end}" for word in "abcdefgh" for end in ("x", "X")]
    warnings = label_warnings(class_order(many), [2] * 16)
    assert len(warnings) == 6
    assert warnings[-1] == "3 more groups of classes differ only so."


@pytest.mark.parametrize(
    ("trained", "new", "message"),
    [
        ("{:.1f} %", "{:.1f}%", None),
        ("{:.1f} %", "{:.1f}", r"column 'v' holds per cent, but row 0 .* may be a hundred times as much"),
        ("{:.1f}", "{:.1f} %", r"column 'v' holds numbers without a per cent sign, but row 0 .* has '.* %'"),
    ],
)
def test_per_cent_at_predict_time(tmp_path, trained, new, message):
    shares = np.random.default_rng(3).uniform(1, 99, ROWS)
    files = [written(tmp_path, n, [form.format(s) for s in shares], "v") for n, form in (("a", trained), ("b", new))]
    data = read(files[0])
    if message is None:
        assert torch.equal(read_new(files[1], data.preprocess, data.classes).inputs, data.inputs)
    else:
        with pytest.raises(DataError, match=message):
            read_new(files[1], data.preprocess, data.classes)


def test_shares_where_training_had_per_cent_are_told(tmp_path):
    shares = np.random.default_rng(3).uniform(1, 99, ROWS)
    files = [written(tmp_path, f"{k}", pa.array(shares * k), "v") for k in (1.0, 0.01, 3.0)]
    data = read(files[0])
    (warning,) = read_new(files[1], data.preprocess, data.classes).warnings
    assert warning.startswith("column 'v' differs a hundredfold from training: the median is 0.")
    assert not read_new(files[2], data.preprocess, data.classes).warnings
