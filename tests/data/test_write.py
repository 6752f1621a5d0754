"""Noisy copies: the same data with other labels."""

import csv
import gzip

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._copy import write_with_labels
from selfdistill.data._read import read
from selfdistill.data.formats._idx import write_idx

TEXT = 'id,x,"t, u",label\r\n007,1.50,"two\nlines ""q""",b\r\n008,,é ,a\r\n009,3e0,  ,b\r\n'


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv"])
def test_csv_keeps_every_other_cell(tmp_path, ending):
    source, out = tmp_path / "a.csv", tmp_path / "new" / f"b{ending}"
    source.write_bytes(TEXT.encode())
    assert write_with_labels(source, ReadOptions(), ["a", "a", "neu, é"], out) == out
    data = gzip.decompress(out.read_bytes()) if ending.endswith("gz") else out.read_bytes()
    before = list(csv.reader(TEXT.splitlines(keepends=True)))
    after = list(csv.reader(data.decode().splitlines(keepends=True), delimiter="\t" if ending == ".tsv" else ","))
    assert [row[:3] for row in after] == [row[:3] for row in before]
    assert [row[3:] for row in after] == [["label", "label_before_noise"], ["a", "b"], ["a", "a"], ["neu, é", "b"]]
    noisy = read(out, ReadOptions(label="label", truth="label_before_noise"))
    assert noisy.classes == ("a", "neu, é")
    assert noisy.truth.tolist() == [-1, 0, -1]
    assert [item.name for item in out.parent.iterdir()] == [out.name]


def test_rows_without_label_stay_without(tmp_path):
    source, out = tmp_path / "a.csv", tmp_path / "b.csv"
    source.write_text("x,y\n1,a\n2, nan\n3,b\n")
    write_with_labels(source, ReadOptions(drop_unlabelled=True), ["b", "a"], out)
    assert out.read_text() == "x,y,y_before_noise\n1,b,a\n2, nan, nan\n3,a,b\n"
    with pytest.raises(DataError, match="has 3 labelled rows, but 2 labels are given"):
        write_with_labels(source, ReadOptions(), ["b", "a"], tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()


def test_parquet_keeps_types(tmp_path):
    source, out = tmp_path / "a.parquet", tmp_path / "b.parquet"
    frame = pd.DataFrame({"x": [1, 2, 3], "when": pd.to_datetime(["2020-01-01"] * 3), "label": [0, 1, 1]})
    frame.to_parquet(source)
    write_with_labels(source, ReadOptions(), ["1", "0", "1"], out)
    pd.testing.assert_frame_equal(pd.read_parquet(out), frame.assign(label=[1, 0, 1], label_before_noise=[0, 1, 1]))


def test_npz(tmp_path):
    X = np.random.default_rng(0).normal(size=(3, 2))
    source = tmp_path / "a.npz"
    np.savez(source, X=X, y=np.array([0, 1, 1], np.uint8), other=np.arange(5))
    out = write_with_labels(source, ReadOptions(), ["1", "0", "300"], tmp_path / "b.npz")
    with np.load(out, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["X"], X)
        assert file["y"].tolist() == [1, 0, 300]
        assert file["truth"].tolist() == [0, 1, 1]
        assert len(file["other"]) == 5
    again = write_with_labels(out, ReadOptions(), ["a", "b", "a"], tmp_path / "c.npz")
    with np.load(again, allow_pickle=False) as file:
        assert file["y"].tolist() == ["a", "b", "a"]
        assert file["y_before_noise"].tolist() == [1, 0, 300]


def idx_folder(path):
    path.mkdir()
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    for part in ("train", "t10k"):
        write_idx(path / f"{part}-images-idx3-ubyte", images)
        write_idx(path / f"{part}-labels-idx1-ubyte", np.array([0, 1, 1], np.uint8))
    return images


def test_idx(tmp_path):
    images = idx_folder(tmp_path / "a")
    out = write_with_labels(tmp_path / "a", ReadOptions(), ["1", "0", "1"], tmp_path / "b")
    data = read(out)
    np.testing.assert_array_equal(data.inputs[:, 0].numpy(), images)
    assert data.labels.tolist() == [1, 0, 1]
    assert data.truth.tolist() == [0, 1, 1]
    assert read(tmp_path / "a").labels.tolist() == [0, 1, 1]  # the source is untouched
    assert sorted(item.name for item in out.iterdir()) == [
        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "train-truth-idx1-ubyte",
    ]  # fmt: skip
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(DataError, match="IDX files hold whole numbers, not labels such as 'x'"):
        write_with_labels(tmp_path / "a", ReadOptions(), ["x", "0", "1"], tmp_path / "c")


def test_folder_and_digits_become_npz(tmp_path):
    for name in ("cat/1.png", "dog/1.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4), 7).save(tmp_path / "p" / name)
    out = write_with_labels(tmp_path / "p", ReadOptions(), ["dog", "cat"], tmp_path / "b.npz")
    data = read(out)
    assert data.ids.tolist() == ["cat/1.png", "dog/1.png"]
    assert data.labels.tolist() == [1, 0]
    assert data.truth.tolist() == [0, 1]
    assert data.inputs.shape == (2, 3, 4, 4)
    digits = read("digits")
    out = write_with_labels(
        "digits", ReadOptions(), [str((int(c) + 1) % 10) for c in digits.labels], tmp_path / "d.npz"
    )
    assert (read(out).inputs == digits.inputs).all()
    assert (read(out).truth == digits.labels).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.parquet", r"cannot take a copy of .*, which is a table. Choose a name with .csv"),
        ("a.csv", "exists already"),
    ],
)
def test_names_that_do_not_fit(tmp_path, name, text):
    (tmp_path / "a.csv").write_text("x,y\n1,a\n2,b\n")
    with pytest.raises(DataError, match=text):
        write_with_labels(tmp_path / "a.csv", ReadOptions(), ["a", "b"], tmp_path / name)


def test_column_that_is_there_already(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,y_before_noise\n1,a,a\n2,b,b\n")
    with pytest.raises(DataError, match="has a column 'y_before_noise' already"):
        write_with_labels(tmp_path / "a.csv", ReadOptions(label="y"), ["a", "b"], tmp_path / "b.csv")


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    idx_folder(tmp_path / "a")
    monkeypatch.setattr("selfdistill.data.formats._idx.write_idx", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_with_labels(tmp_path / "a", ReadOptions(), ["1", "0", "1"], tmp_path / "b")
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
