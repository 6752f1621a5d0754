"""Numbers that stand for missing values: found where they are such, and not where they are values."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._numerals import find_codes
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_arrays, from_frame

TABLES = Path(__file__).parents[3] / "shared" / "data" / "tabular"
RNG = np.random.default_rng(0)
GAPS = RNG.random(200) < 0.1
GAPS[:2] = True


@pytest.mark.parametrize(
    ("values", "code", "found"),
    [
        (RNG.normal(size=200), -9999, True),
        (RNG.normal(size=200), -999999, True),
        (RNG.normal(size=200), 9999, True),
        (RNG.normal(20, 5, size=200), -99, True),
        (RNG.normal(20, 5, size=200), 999.9, True),
        (RNG.normal(20, 5, size=200), -9998, False),  # no nines
        (RNG.integers(0, 10**6, 200), -999, True),  # below 0, where no other is
        (RNG.integers(-5000, 5000, 200), -999, False),
        (RNG.integers(-5000, 5000, 200), -9999, False),  # one more of many
        (RNG.integers(0, 9999, 200), 9999, False),
        (RNG.integers(990, 999, 200), 999, False),
        (RNG.integers(0, 2, 200) * 0 + 7, 999, False),  # one other value: a mark of its own
        (RNG.exponential(3000, 200), 9999, False),
    ],
)
def test_what_stands_for_a_missing_value(values, code, found):
    numbers = np.where(GAPS, code, np.minimum(values.astype(float), code if code > 0 else np.inf))
    assert find_codes(numbers) == ([code] if found else [])


def test_both_ends_and_single_values():
    numbers = np.array([1.0, 2, 3, 4, -999, -999, 999, np.nan])
    assert find_codes(numbers) == [-999, 999]
    assert find_codes(np.array([1.0, 400, 999])) == []
    assert find_codes(np.array([1.0, 40, 999])) == [999]
    assert find_codes(np.full(3, np.nan)) == []
    assert find_codes(np.array([-9999.0, np.inf, 1, 2])) == [-9999]


def frames():
    size = RNG.normal(50, 9, 200)
    coded = pd.DataFrame({"size": np.where(GAPS, -9999, size), "other": size})
    return coded, coded.assign(size=np.where(GAPS, np.nan, size)), np.where(size > 50, "big", "small")


def test_they_are_read_as_gaps_and_told():
    coded, empty, labels = frames()
    data, plain = from_frame(coded, labels), from_frame(empty, labels)
    assert torch.equal(data.inputs, plain.inputs)
    assert data.counts == plain.counts == {"missing_values": int(GAPS.sum())}
    (warning,) = data.warnings
    assert warning.startswith(
        f"column 'size': -9999 ({int(GAPS.sum())} rows), far from all other numbers, counts as missing"
    )
    again = Preprocess.from_state(*data.preprocess.to_state())
    assert torch.equal(again.apply(coded[:5]), data.inputs[:5])
    numeric = from_frame(coded, labels, options=ReadOptions(numeric=("size",)))
    assert not numeric.warnings
    assert not numeric.counts


def test_many_columns_are_told_in_few_lines():
    coded, _, labels = frames()
    size = coded["size"].to_numpy()
    wide = pd.DataFrame({f"s{i}": np.where(size > 0, size + i / 2, size) for i in range(14)})
    warnings = from_frame(wide, labels).warnings
    assert len(warnings) == 11
    assert warnings[-1] == "the same holds for 4 more columns."


def test_new_data_with_a_code_that_training_did_not_have(tmp_path):
    coded, empty, labels = frames()
    empty.assign(label=labels).to_csv(tmp_path / "train.csv", index=False)
    coded.to_csv(tmp_path / "new.csv", index=False)
    data = read(tmp_path / "train.csv")
    (warning,) = read_new(tmp_path / "new.csv", data.preprocess, data.classes).warnings
    assert warning.startswith(f"column 'size' holds -9999 in {int(GAPS.sum())} rows, far from all numbers of training")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_real_tables_have_none(name):
    frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
    assert {column: codes for column in frame if (codes := find_codes(frame[column].to_numpy(float)))} == {}


@pytest.mark.skipif(not TABLES.exists(), reason="the real tables are not here")
def test_crowdsourced_tables_have_none():
    for file in TABLES.glob("*.csv"):
        numbers = pd.read_csv(file).select_dtypes("number")
        assert not any(find_codes(numbers[column].to_numpy(float)) for column in numbers)


def test_gaps_of_arrays_become_the_median(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    X[:, 3] = 7.0
    assert not from_arrays(X, y).warnings
    X[::7, 2] = -9999
    X[3, 0] = X[5, 0] = 999
    data = from_arrays(X, y)
    filled = X.copy()
    for place, gap in {0: X[:, 0] == 999, 2: X[:, 2] == -9999}.items():
        filled[gap, place] = np.median(X[~gap, place])
    wanted = (filled - filled.mean(0)) / np.where(filled.std(0) == 0, 1, filled.std(0))
    assert np.allclose(data.inputs, wanted, atol=1e-5)
    assert data.counts == {"missing_values": 11}
    assert re.match(
        r"column 0 \(counted from 0\): 999 in 2 rows, far from all other numbers, counts as missing and becomes the "
        r"median; so do those of 1 more column; to take it as it stands, pass a table .* --numeric",
        *data.warnings,
    )
    table = from_frame(pd.DataFrame(X).add_prefix("x"), y)
    assert torch.equal(data.inputs[:, :3], table.inputs[:, :3])  # beside which a table has indicators
    again = Preprocess.from_state(*data.preprocess.to_state())
    assert torch.equal(again.apply(X[:9]), data.inputs[:9])
    assert np.allclose(again.raw(data.inputs), filled)
    np.savez(tmp_path / "a.npz", X=X.astype(np.float32), y=y)
    assert torch.allclose(read(tmp_path / "a.npz").inputs, data.inputs, atol=1e-4)


@pytest.mark.parametrize("gap", [[9, [-9999.0], 0.0], [-1, [-9999.0], 0.0], [0, [-9999.0], float("nan")], [0, 1]])
def test_a_damaged_description_of_gaps_is_refused(gap):
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[::7, 1] = -9999
    spec, tensors = from_arrays(X, np.arange(60) % 2).preprocess.to_state()
    with pytest.raises(DataError, match="is damaged"):
        Preprocess.from_state(spec | {"gaps": [gap]}, tensors)
