"""Columns of lists: embeddings in Parquet files and DataFrames."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_refined
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_frame

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
WORDS = [["a", "b", "c"][i % 3] for i in range(60)]
KINDS = {
    "list": lambda X: pa.array(X.tolist(), pa.list_(pa.float32())),
    "large": lambda X: pa.array(X.tolist(), pa.large_list(pa.float64())),
    "fixed": lambda X: pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), X.shape[1]),
    "half": lambda X: pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1).astype(np.float16)), X.shape[1]),
}


def standard(X):
    return (X - X.mean(0)) / X.std(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_lists_is_features(tmp_path, kind):
    table = pa.table({"emb": KINDS[kind](X), "size": np.arange(60) / 7, "kind": WORDS})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=17)  # several chunks
    data = read(tmp_path / "t.parquet", ReadOptions(label="kind"))
    assert data.inputs.shape == (60, 5)
    assert data.preprocess.kinds["vector"] == ("emb",)
    assert data.preprocess.facts() == "1 numeric column, 1 vector column (5 inputs)"
    rough = {"atol": 2e-2} if kind == "half" else {"atol": 1e-5}
    np.testing.assert_allclose(data.inputs[:, 1:], standard(X), **rough)
    again = Preprocess.from_state(*data.preprocess.to_state())
    assert torch.equal(read_new(tmp_path / "t.parquet", again, data.classes).inputs, data.inputs)
    part = table.slice(7, 9)  # an offset into the lists
    assert torch.equal(data.preprocess.apply(part.drop_columns(["kind"])), data.inputs[7:16])
    write_refined(tmp_path / "t.parquet", ReadOptions(label="kind"), tmp_path / "r.parquet", keep=np.arange(60) < 50)
    assert pq.read_table(tmp_path / "r.parquet")["emb"].type == table["emb"].type


def test_a_frame_with_arrays_as_cells():
    data = from_frame(pd.DataFrame({"emb": list(X), "more": list(X[:, :2].tolist())}), WORDS)
    np.testing.assert_allclose(data.inputs, np.hstack([standard(X), standard(X[:, :2])]), atol=1e-5)


def changed(row, value):
    rows = X.tolist()
    rows[row] = value
    return pa.table({"emb": pa.array(rows), "kind": WORDS})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (changed(5, [1.0, 2.0]), r"lists of different lengths: 4 numbers in row 0, 2 in row 5 \(counted from 0\)"),
        (changed(5, None), r"column 'emb' has no list in 1 of 60 rows, the first in row 5 \(counted from 0\)"),
        (changed(5, [1.0, None, 0.0, 0.0]), r"NaN or no value in row 5, place 1 of its list \(counted from 0\)"),
        (changed(59, [1.0, 0.0, 0.0, float("nan")]), "NaN or no value in row 59, place 3"),
        (changed(2, [1.0, 0.0, float("inf"), 0.0]), "an infinite value in row 2, place 2"),
        (pa.table({"emb": pa.array([[]] * 60, pa.list_(pa.float32())), "kind": WORDS}), "empty lists"),
        (
            pa.table({"emb": pa.array([["x"]] * 60), "kind": WORDS}),
            "left: column 'emb' holds list<.*, no numbers",
        ),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, table, problem):
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=problem) as refused:
        read(tmp_path / "t.parquet", ReadOptions(label="kind"))
    assert refused.value.hint


def test_new_data_must_have_the_lists_of_training():
    data = from_frame(pd.DataFrame({"emb": list(X)}), WORDS)
    with pytest.raises(DataError, match=r"4 numbers in training, 3 in row 0"):
        data.preprocess.apply(pd.DataFrame({"emb": list(X[:, :3])}))
    with pytest.raises(DataError, match="column 'emb' holds double, but lists of numbers in training"):
        data.preprocess.apply(pd.DataFrame({"emb": X[:, 0].astype(float)}))


def test_a_damaged_description_is_refused():
    spec, tensors = from_frame(pd.DataFrame({"emb": list(X)}), WORDS).preprocess.to_state()
    with pytest.raises(DataError, match="does not hold what its description says"):
        Preprocess.from_state(spec | {"vector": [{"name": "emb", "width": 9}]}, tensors)
    with pytest.raises(DataError, match="is damaged"):
        Preprocess.from_state(spec, tensors | {"vector.0": torch.zeros(2, 4)})
