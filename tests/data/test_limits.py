"""Reading that keeps to its limits."""

import gzip
import io
from pathlib import Path

import pandas as pd
import pytest

from selfdistill._core.errors import DataError
from selfdistill.data import _limits
from selfdistill.data._read import read
from selfdistill.data.formats._idx import read_exactly


def test_exact_reading():
    assert read_exactly(io.BytesIO(b"abc"), 3, Path("f")) == b"abc"
    assert read_exactly(io.BytesIO(b"abc"), 2, Path("f"), whole=False) == b"ab"
    with pytest.raises(DataError, match=r"f is truncated: it should hold 4 more bytes here, but ends after 3"):
        read_exactly(io.BytesIO(b"abc"), 4, Path("f"))
    with pytest.raises(DataError, match=r"f holds more bytes than its header says \(2\)"):
        read_exactly(io.BytesIO(b"abc"), 2, Path("f"))


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_damaged_gzip(tmp_path, cut):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(range(200)) * 5)[:cut])
    with _limits.open_bytes(path) as file, pytest.raises(DataError, match="truncated"):
        read_exactly(file, 1000, path)


def test_bad_checksum(tmp_path):
    path = tmp_path / "a.gz"
    data = bytearray(gzip.compress(b"x" * 100))
    data[-6] ^= 1
    path.write_bytes(data)
    with _limits.open_bytes(path) as file, pytest.raises(DataError, match="truncated or damaged"):
        read_exactly(file, 100, path)


def test_size_limit(monkeypatch):
    monkeypatch.setattr(_limits, "_EXPAND_LIMIT", 2**20)
    assert _limits.expand_limit() == 2**20
    with pytest.raises(DataError, match=r"bomb unpacks to 2.0 GiB, but at most 0.0 GiB are read"):
        _limits.check_size("bomb", 2**31)


def test_a_whole_file_is_read_in_blocks(monkeypatch):
    """`read` of 16 GiB sets them aside, which fails where memory is limited, however small the file."""
    content, asked = bytes(range(256)) * 9000, []

    class File(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    assert _limits.read_whole(File(content), "f") == content
    assert set(asked) == {2**20}
    monkeypatch.setattr(_limits, "_EXPAND_LIMIT", 2**21)
    with pytest.raises(DataError, match=r"f unpacks to 0\.0 GiB"):
        _limits.read_whole(File(content), "f")


@pytest.mark.parametrize("name", ["X.CSV.GZ", "X.Csv.gz", "X.TSV.GZ", "X.CSV"])
def test_endings_in_any_case(tmp_path, name):
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5], "label": [0, 1, 0, 1]})
    packed = "gzip" if name.lower().endswith("gz") else None
    frame.to_csv(tmp_path / name, index=False, sep="\t" if "TSV" in name else ",", compression=packed)
    data = read(tmp_path / name)
    assert data.inputs.shape == (4, 1)
    assert data.classes == ("0", "1")
