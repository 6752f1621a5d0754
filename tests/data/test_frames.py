"""Data that are in memory, and Parquet."""

import numpy as np
import pandas as pd
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._source import from_arrays, from_frame
from selfdistill.data._stored import read_parquet


def test_vectors_are_standardised():
    X = np.random.default_rng(0).normal(3, 2, (50, 4))
    data = from_arrays(X, np.arange(50) % 3, truth=np.arange(50) % 2, ids=[f"r{i}" for i in range(50)])
    np.testing.assert_allclose(data.inputs.numpy(), (X - X.mean(0)) / X.std(0), rtol=1e-5, atol=1e-6)
    assert data.classes == ("0", "1", "2")
    assert data.truth.tolist() == [0, 1] * 25
    assert data.ids[7] == "r7"


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 3, 8, 8), (6, 8, 8, 3)])
def test_images_come_channels_first(shape):
    X = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    data = from_arrays(X, [0, 1] * 3)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs.shape == (6, 1 if len(shape) == 3 else 3, 8, 8)


def test_user_form_passes_through():
    X = np.random.default_rng(0).normal(size=(4, 2, 3, 4, 5))
    data = from_arrays(X, [0, 1, 0, 1], form="user")
    assert torch.equal(data.inputs, torch.from_numpy(X).float())
    assert data.preprocess.kind == "user"


@pytest.mark.parametrize(
    ("X", "y", "more", "text"),
    [
        ([1.0, 2.0], [0, 1], {}, r"must be \[n, d\].*Reshape your data"),
        (np.zeros((2, 0)), [0, 1], {}, r"0 features"),
        (np.zeros((0, 2)), [], {}, "has no examples"),
        ([[1.0], [np.nan]], [0, 1], {}, "hold NaN in row 1, column 0. Impute it first, or pass a table"),
        ([[1.0], [np.inf]], [0, 1], {}, r"hold infinite \(inf\) in row 1, column 0"),
        ([["a"], ["b"]], [0, 1], {}, "must hold numbers"),
        ([[1.0], [2.0]], [0, 0], {}, "only the class '0', but training needs at least 2 classes"),
        ([[1.0], [2.0]], [0, None], {}, r"has no label in 1 of 2 rows: 1 \(from 0\).*`drop_unlabelled`"),
        ([[1.0], [2.0]], [0], {}, "has 2 examples but 1 labels"),
        ([[1.0], [2.0]], [0, 1], {"ids": ["a", "a"]}, "repeats the id 'a'"),
        ([[1.0], [2.0]], [0, 1], {"truth": [1]}, "2 examples but 1 true labels"),
        ([[1.0], [2.0]], [0, 1], {"form": "sound"}, "form is 'sound'"),
    ],
)
def test_bad_arrays(X, y, more, text):
    with pytest.raises(DataError, match=text):
        from_arrays(X, y, **more)


def test_frame_and_labels():
    X = pd.DataFrame({"label": [1.0, 2.0]})
    assert from_frame(X, ["a", "b"]).preprocess.features == ("label",)
    with pytest.raises(DataError, match="given as y and as the column 'label'"):
        from_frame(X, ["a", "b"], options=ReadOptions(label="label"))
    with pytest.raises(DataError, match="2 rows but 1 labels"):
        from_frame(X, ["a"])


def test_truncated_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": range(100), "label": ["a", "b"] * 50}).to_parquet(path)
    whole = path.read_bytes()
    assert read_parquet(path).num_rows == 100
    for damaged in (whole[:-20], whole[:30], b"", b"PAR1" + b"x" * 50 + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is truncated or not a Parquet file") as caught:
            read_parquet(path)
        assert "\n" not in str(caught.value)


def test_parquet_without_rows_or_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": range(0)}).to_parquet(path)
    with pytest.raises(DataError, match="has no rows"):
        read_parquet(path)
    pd.DataFrame({"x": range(1000)}).to_parquet(path)
    monkeypatch.setattr("selfdistill.data._limits._EXPAND_LIMIT", 100)
    with pytest.raises(DataError, match="unpacks to"):
        read_parquet(path)
