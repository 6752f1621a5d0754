"""Vectors that stay on disk: the same numbers, names and errors as from memory, a part at a time."""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data import _stored as mapped_module
from selfdistill.data._read import read

N, D = 90, 7


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(mapped_module, "MAPPED_BYTES", 0)
    monkeypatch.setattr(mapped_module, "_BATCH", 16)


@pytest.fixture
def made(tmp_path):
    """Write the same vectors and labels in one form."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(3, [1, 2, 3, 4, 5, 6, 1e-3], (N, D)), np.array(["cat", "dog", "cow"])[rng.integers(3, size=N)]
    X[:, 4] = 8.0

    def make(form: str, dtype: str = "float32"):
        array, path = X.astype(dtype), tmp_path / f"x.{form.split('-')[0]}"
        if form == "npy":
            np.save(path, array)
            np.save(tmp_path / "y.npy", y)
            return path, ReadOptions(labels=str(tmp_path / "y.npy"))
        if form.startswith("npz"):
            (np.savez_compressed if form == "npz-small" else np.savez)(path, embeddings=array, y=y)
            return path, ReadOptions()
        lists = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), D)
        table = pa.table({"label": y, "age": np.arange(N) % 11, "emb": lists.cast(pa.list_(lists.type.value_type))})
        pq.write_table(table, path, row_group_size=40)
        return path, ReadOptions()

    return make


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("form", ["npy", "npz", "parquet"])
def test_rows_are_those_from_memory(made, form, dtype):
    path, options = made(form, dtype)
    whole, part = read(path, options), read(path, options, mapped=True)
    assert whole.mapped is None
    assert part.inputs.device.type == "meta"
    assert part.inputs.shape == part.rows.shape == whole.inputs.shape
    assert len(part.rows) == N
    for rows in (slice(0, N), slice(30, 50), slice(85, 200), torch.tensor([70, 3, 3, 41])):
        assert torch.equal(part.rows[rows], whole.rows[rows])
    assert part.fingerprint == whole.fingerprint
    assert torch.equal(part.labels, whole.labels)
    assert part.counts == whole.counts
    assert (part.warnings, part.notes) == (whole.warnings, whole.notes)
    for one, two in zip(part.preprocess.to_state()[1].values(), whole.preprocess.to_state()[1].values(), strict=True):
        assert torch.equal(one, two)


def test_what_is_compressed_or_small_comes_into_memory(made, monkeypatch):
    assert read(*made("npz-small"), mapped=True).mapped is None
    monkeypatch.setattr(mapped_module, "MAPPED_BYTES", 4 * N * D)
    for form in ("npy", "npz", "parquet"):
        assert read(*made(form), mapped=True).mapped is None
    monkeypatch.setattr(mapped_module, "MAPPED_BYTES", 4 * N * D - 1)
    for form in ("npy", "npz", "parquet"):
        assert read(*made(form), mapped=True).mapped is not None


def test_images_and_tables_without_lists_come_into_memory(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).random((N, 4, 4)), y=np.arange(N) % 2)
    assert read(tmp_path / "x.npz", mapped=True).mapped is None
    pq.write_table(pa.table({"label": np.arange(N) % 2, "age": np.arange(N) % 11}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", mapped=True).mapped is None


def test_what_stays_on_disk_has_no_limit(made, monkeypatch):
    for form in ("npy", "npz", "parquet"):
        path, options = made(form)
        with monkeypatch.context() as patch:
            patch.setattr("selfdistill.data._limits.expand_limit", lambda: 2000)
            assert read(path, options, mapped=True).mapped is not None
            with pytest.raises(DataError, match=r"but at most 0\.0 GiB are read"):
                read(path, options)


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_numbers_that_are_none_are_named_by_their_row(made, form):
    path, options = made(form)
    with np.load(path, mmap_mode="r+") if form == "npz" else pathlib.Path(path).open("rb") as file:
        held = {k: file[k] for k in file.files} if form == "npz" else np.load(file)
    (held["embeddings"] if form == "npz" else held)[60, 2] = np.nan
    np.savez(path, **held) if form == "npz" else np.save(path, held)
    with pytest.raises(DataError, match="NaN in row 60, column 2"):
        read(path, options, mapped=True)


def test_bad_lists_are_named_by_their_row_wherever_the_block_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("selfdistill.data._arrays._BLOCK", 4 * 20)
    y, rows = np.arange(N) % 2, [[1.0, 2.0, 3.0, float(i)] for i in range(N)]
    for spoil, problem in (
        ([1.0, np.nan, 3.0, 4.0], r"NaN or no value in row 60, place 1"),
        ([1.0], r"4 numbers in row 0, 1 in row 60"),
        (None, r"no list in 1 of 90 rows, the first in row 60"),
    ):
        table = pa.table({"label": y, "emb": pa.array([*rows[:60], spoil, *rows[61:]])})
        pq.write_table(table, tmp_path / "t.parquet")
        for mapped in (False, True):
            with pytest.raises(DataError, match=problem):
                read(tmp_path / "t.parquet", mapped=mapped)


def test_an_unpacked_file_has_no_name_and_leaves_nothing(made, tmp_path):
    path, options = made("parquet")
    before = sorted(tmp_path.iterdir())
    found = read(path, options, mapped=True)
    assert sorted(tmp_path.iterdir()) == before
    path.unlink()
    assert found.rows[80:90].shape == (10, D + 1)  # it is still there for us


def test_a_folder_that_cannot_be_written_to_is_not_needed(made, tmp_path, monkeypatch):
    path, options = made("parquet")
    real = mapped_module.tempfile.NamedTemporaryFile

    def refuse(*args, dir=None, **more):
        if dir is not None:
            raise PermissionError(13, "Permission denied")
        return real(*args, **more)

    monkeypatch.setattr(mapped_module.tempfile, "NamedTemporaryFile", refuse)
    assert read(path, options, mapped=True).mapped is not None


def test_rows_left_out_leave_the_others_in_order(made, tmp_path):
    path, options = made("npz")
    with np.load(path) as file:
        X, y = file["embeddings"], file["y"].astype(object)
    y[[3, 50]] = ""
    np.savez(path, embeddings=X, y=y.astype(str))
    options = ReadOptions(drop_unlabelled=True)
    whole, part = read(path, options), read(path, options, mapped=True)
    assert torch.equal(part.rows[0:N], whole.inputs)
    assert part.fingerprint == whole.fingerprint


def test_no_more_than_a_block_is_made_at_once(made, monkeypatch):
    path, options = made("npy")
    whole = read(path, options)
    monkeypatch.setattr("selfdistill._core.row_blocks._BLOCK", D * 20)
    asked = []
    real = mapped_module.MappedInputs.__getitem__

    def counted(self, rows):
        found = real(self, rows)
        asked.append(len(found))
        return found

    monkeypatch.setattr(mapped_module.MappedInputs, "__getitem__", counted)
    assert read(path, options, mapped=True).fingerprint == whole.fingerprint
    assert asked == [20, 20, 20, 20, 10]
