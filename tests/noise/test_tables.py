import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from selfdistill._core.errors import DataError
from selfdistill.noise import _tables
from selfdistill.noise._tables import check_file, load_arrays, read_rows


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was executed')",)


@pytest.mark.parametrize("name", ["labels.npy", "labels.npz"])
def test_pickles_are_refused_unread(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = io.BytesIO()
    np.save(content, np.array([Bomb()], dtype=object), allow_pickle=True)
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("labels.npy", content.getvalue())
    else:
        path.write_bytes(content.getvalue())
    check_file(path)
    with pytest.raises(DataError, match="cannot be read as arrays of numbers or strings"):
        load_arrays(path)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(tmp_path / "plain.npy")


def test_truncated_archives(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, a=np.arange(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no archive of arrays"):
        check_file(path)
    damaged = bytearray(whole)
    damaged[100:400] = bytes(300)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, np.zeros(10, dtype=np.int64))
    path.write_bytes(path.read_bytes().replace(b"(10,), }      ", b"(9999999,), } "))
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path)


def test_the_ending_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, a=np.arange(3))
    path.rename(tmp_path / "labels.npy")
    with pytest.raises(DataError, match=r"does not fit its ending '\.npy'"):
        load_arrays(tmp_path / "labels.npy")


def test_bombs_are_refused_by_their_unpacked_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, a=np.zeros(100_000, dtype=np.int64))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(_tables, "_LARGEST", 100_000)
    with pytest.raises(DataError, match=r"holds 800,128 bytes, more than the limit of 100,000"):
        check_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1\n", "row 2 of .* has 1 fields, the one above has 2"),
        (b"a\n\xff\xfe\n", "no table of UTF-8 text"),
        (b"a\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
    ],
)
def test_tables_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent.csv. Check the path"):
        check_file(tmp_path / "absent.csv")
