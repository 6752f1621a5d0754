"""Columns of every Arrow type: used for what they are, or left out with one line."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._arrow_types import is_readable, plain_column
from selfdistill.data._labels import texts
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_frame

ROWS = 40
PICK = np.random.default_rng(0).integers(0, 3, ROWS)
X, Y = np.random.default_rng(1).normal(size=ROWS), np.arange(ROWS) % 2


def cells(make, kind=None):
    return pa.array([make(int(k)) for k in PICK], kind)


def extension(kind, storage):
    return pa.ExtensionArray.from_storage(kind, storage)


INTERVALS = pd.Series(pd.cut(PICK, [-1, 0, 1, 2]))
UNION = pa.UnionArray.from_dense(
    pa.array([0] * ROWS, pa.int8()), pa.array(range(ROWS), pa.int32()), [pa.array(PICK), pa.array(["a"])]
)
RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([15, ROWS], pa.int32()), pa.array([1.0, 2.0]))
KINDS = {  # the column, its kind, and a value of the first row that its inputs come from
    "null": (pa.nulls(ROWS), "none", "empty"),
    "string_view": (cells("w{}".format, pa.string_view()), "categorical", None),
    "large_string": (cells("w{}".format, pa.large_string()), "categorical", None),
    "binary": (cells(lambda k: b"w%d" % k), "categorical", None),
    "binary_view": (cells(lambda k: b"w%d" % k, pa.binary_view()), "categorical", None),
    "fixed_size_binary": (cells(lambda k: b"w%d" % k, pa.binary(2)), "categorical", None),
    "bytes of no text": (cells(lambda k: b"\xff%d" % k), "none", "binary"),
    "period": (pa.array(pd.Series(pd.period_range("2020", periods=3, freq="M"))[PICK]), "numeric", None),
    "interval": (pa.array(INTERVALS.astype(object).astype("interval")), "categorical", None),
    "cut": (pa.array(INTERVALS), "categorical", None),
    "uuid": (extension(pa.uuid(), cells(lambda k: uuid.UUID(int=k).bytes, pa.binary(16))), "categorical", None),
    "json": (extension(pa.json_(), cells('{{"a": {}}}'.format)), "categorical", None),
    "bool8": (extension(pa.bool8(), pa.array((PICK > 0).astype(np.int8))), "numeric", None),
    "tensor": (
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.random.default_rng(2).normal(size=(ROWS, 2, 3))),
        "vector",
        None,
    ),
    "duration": (cells(lambda k: 1000 * k, pa.duration("ms")), "numeric", None),
    "month_day_nano": (cells(lambda k: pa.MonthDayNano([k, 1, 1])), "none", "month_day_nano_interval"),
    "list": (cells(lambda k: [k, 2]), "vector", None),
    "list_view": (cells(lambda k: [k, 2.0], pa.list_view(pa.float64())), "vector", None),
    "fixed_size_list": (cells(lambda k: [k, 2.0], pa.list_(pa.float16(), 2)), "vector", None),
    "fixed lists of fixed lists": (cells(lambda k: [[k, 2.0]], pa.list_(pa.list_(pa.float32(), 2), 1)), "vector", None),
    "list of texts": (cells(lambda k: ["a", "b"][:k]), "none", "list"),
    "list of lists": (cells(lambda k: [[1.0], [2.0, k]]), "none", "list"),
    "struct": (cells(lambda k: {"a": k}), "none", "struct"),
    "complex": (pd.Series(PICK + 1j), "none", "struct"),
    "map": (cells(lambda k: [("a", k)], pa.map_(pa.string(), pa.int64())), "none", "map"),
    "union": (UNION, "none", "union"),
    "run_end_encoded": (RUNS, "numeric", None),
    "decimal256": (cells(decimal.Decimal, pa.decimal256(40, 2)), "numeric", None),
    "halffloat": (pa.array(PICK.astype(np.float16)), "numeric", None),
    "uint64": (cells(lambda k: 2**63 + 2**60 * k, pa.uint64()), "numeric", None),
    "date": (cells(lambda k: datetime.date(2020, 1, 1 + k)), "categorical", "dates"),
    "time": (cells(lambda k: datetime.time(k)), "categorical", "dates"),
    "timestamp": (cells(lambda k: datetime.datetime(2020, 1, 1 + k, 5)), "categorical", "dates"),
    "dictionary": (pa.array(PICK).dictionary_encode(), "categorical", None),
}
NOT_IN_PARQUET = {"cut", "month_day_nano", "union", "run_end_encoded", "dictionary", "complex"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("parquet", [False, True], ids=["memory", "parquet"])
def test_each_type_is_used_or_left_out_with_one_line(tmp_path, name, parquet):
    column, kind, warning = KINDS[name]
    if isinstance(column, pd.Series):
        table = pd.DataFrame({"x": X, "v": column, "label": Y})
    else:
        table = pa.table({"x": X, "v": column, "label": Y})
    if parquet:
        if name in NOT_IN_PARQUET:
            pytest.skip("Parquet has no such type")
        pq.write_table(table, tmp_path / "t.parquet")
        data = read(tmp_path / "t.parquet")
        again = read_new(tmp_path / "t.parquet", data.preprocess, data.classes)
        assert not again.warnings
        new = again.inputs
    else:
        data = from_frame(table, options=ReadOptions(label="label"))
        new = data.preprocess.apply(table)
    assert new.equal(data.inputs)
    kinds = {k: names for k, names in data.preprocess.kinds.items() if "v" in names}
    assert list(kinds) == ([] if kind == "none" else [kind])
    assert len(data.warnings) == (warning is not None)
    if warning is not None:
        assert "column 'v'" in data.warnings[0]
        assert warning in data.warnings[0]
    if kind == "categorical":  # one indicator for each, which tells the rows apart as the values do
        assert data.inputs[:, 1:4].argmax(1).unique().tolist() == [0, 1, 2]
        assert len({(int(k), int(i)) for k, i in zip(PICK, data.inputs[:, 1:4].argmax(1), strict=True)}) == 3


@pytest.mark.parametrize("name", KINDS)
def test_as_labels_they_are_classes_or_refused_in_one_line(name):
    column, kind, _ = KINDS[name]
    if isinstance(column, pd.Series):
        table = pd.DataFrame({"x": X, "label": column})
    else:
        table = pa.table({"x": X, "label": column})
    if kind in {"none", "vector"}:
        with pytest.raises(DataError, match=r"column 'label' holds|the table has no label in 40 of 40 rows"):
            from_frame(table)
    else:
        assert len(from_frame(table).classes) == (2 if name in {"bool8", "run_end_encoded"} else 3)


def test_times_beyond_those_of_python_are_their_numbers():
    for kind in (pa.duration("s"), pa.timestamp("s")):
        cells = pa.chunked_array([pa.array([2**60, None, 5], pa.int64()).cast(kind)])
        assert texts(cells).tolist() == [str(2**60), None, "5"]


def test_durations_are_seconds_and_tensors_rows():
    seconds = plain_column(pa.chunked_array([pa.array([1500, None], pa.duration("ms"))]))
    assert seconds.to_pylist() == [1.5, None]
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12.0).reshape(2, 2, 3))
    assert plain_column(pa.chunked_array([tensor])).to_pylist()[1] == [6, 7, 8, 9, 10, 11]
    cut = pa.chunked_array([pa.array(pd.Series(pd.cut([0, 1, 9], [-1, 0, 1])))])
    assert plain_column(cut).to_pylist() == ["(-1, 0]", "(0, 1]", None]
    assert not is_readable(pa.dictionary(pa.int8(), pa.binary()))


@pytest.mark.parametrize("read_it", ["file", "frame"])
def test_two_columns_of_one_name(tmp_path, read_it):
    table = pa.Table.from_arrays([pa.array(X), pa.array(X), pa.array(Y)], names=["a", "a", "label"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="more than one column named 'a'"):
        read(tmp_path / "t.parquet") if read_it == "file" else from_frame(table)


def test_cells_of_python_objects_are_texts_or_vectors():
    odd = [uuid.UUID(int=int(k)) if k else "a" for k in PICK]
    grids = [np.full((2, 2), k) for k in PICK]
    data = from_frame(pd.DataFrame({"x": X, "odd": odd, "sets": [{1, k + 5} for k in PICK], "grids": grids}), Y)
    assert data.preprocess.kinds["vector"] == ("sets", "grids")
    assert data.preprocess.kinds["categorical"] == ("odd",)
    assert data.inputs.shape == (ROWS, 1 + 3 + 2 + 4)
