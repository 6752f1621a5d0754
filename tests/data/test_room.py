"""The memory that data need is reckoned before it is taken."""

import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill._core import memory
from selfdistill._core.errors import DataError, ResourceError
from selfdistill.data import _limits
from selfdistill.data._read import read, read_new
from selfdistill.data._source import from_arrays, from_frame
from selfdistill.train import Settings
from selfdistill.train._fit import fit


@pytest.fixture
def little(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2**26)
    monkeypatch.setattr(_limits, "free_memory", lambda: 2**26)


def zeros(path, rows):
    """Many zeros in a small file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, 1000)})
            for _ in range(rows // 1000):
                file.write(bytes(4_000_000))
        with archive.open("y.npy", "w") as file:
            np.lib.format.write_array(file, np.arange(rows) % 2)


def test_an_archive_that_unfolds_beyond_what_is_free(tmp_path, little):
    zeros(tmp_path / "z.npz", 50_000)
    assert (tmp_path / "z.npz").stat().st_size < 2**20
    with pytest.raises(DataError, match=r"z.npz unpacks to 0.2 GiB, but 0.1 GiB of memory are free"):
        read(tmp_path / "z.npz")


def test_texts_and_categories_whose_inputs_are_larger_than_they_are(tmp_path, little):
    words = np.random.default_rng(0).integers(0, 200, (10_000, 4)).astype(str)
    frame = pd.DataFrame(words, columns=list("abcd")).add_prefix("k")
    frame = frame.apply(lambda column: "w" + column)
    with pytest.raises(ResourceError, match=r"the inputs made of the table take about .*but 64.0 MiB are free"):
        from_frame(pd.concat([frame] * 3).assign(**{"x": 1.0}), np.arange(30_000) % 2)
    few = from_frame(frame[:2000], np.arange(2000) % 2)
    pd.concat([frame] * 3).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ResourceError, match=r"the inputs made of .*new.csv take about"):
        read_new(tmp_path / "new.csv", few.preprocess, few.classes)


def test_many_classes(little):
    labels = np.arange(4000) % 2000
    data = from_arrays(np.random.default_rng(0).normal(size=(4000, 2)), labels)
    for method in ("kernel", "cross-entropy"):
        with pytest.raises(ResourceError, match=r"4,000 examples of 2,000 classes take about 366.2 MiB of memory, but"):
            fit(data, Settings(method=method, epochs=1).resolve(4000, "cpu"))


def test_many_columns(monkeypatch, tmp_path):
    monkeypatch.setattr(_limits, "COLUMN_LIMIT", 10)
    table = pa.table({f"c{place}": [1.0, 2.0] for place in range(11)} | {"label": [0, 1]})
    with pytest.raises(DataError, match=r"the table has 12 columns, but tables have at most 10. Save .* as one array"):
        from_frame(table)
    pq.write_table(table, tmp_path / "t.parquet")
    table.to_pandas().to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        with pytest.raises(DataError, match=rf"{name} has 12 columns, but tables have at most 10"):
            read(tmp_path / name)
