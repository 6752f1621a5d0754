from __future__ import annotations

import errno
import hashlib
import shutil
from collections import namedtuple

import pytest

from selfdistill._core.errors import DataError, ResourceError, RunError
from selfdistill._core.files import atomic, check_room, digest, made, read_json, translate_disk_full, write_json
from selfdistill._core.lock import locked
from selfdistill.data._read import read
from selfdistill.data._source import from_arrays
from selfdistill.distill import Distiller


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_with_the_way_out(tmp_path):
    with pytest.raises(ResourceError, match=r"no room on disk to write .*a\.txt.*`out`"), atomic(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), atomic(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "no")
    assert not list(tmp_path.iterdir())


def as_torch_says():
    try:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 (what torch does)


def as_safetensors_says():
    raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [as_torch_says, as_safetensors_says])
def test_a_full_disk_is_known_whatever_library_writes(tmp_path, write):
    with (
        pytest.raises(ResourceError, match=r"no room on disk to write .*a\.txt"),
        translate_disk_full(tmp_path / "a.txt"),
    ):
        write()
    with pytest.raises(ValueError, match="os error 2"), translate_disk_full(tmp_path / "a.txt"):
        raise ValueError("no such file (os error 2)")


def test_the_files_mode_is_kept(tmp_path):
    path = tmp_path / "a"
    path.write_text("x")
    path.chmod(0o640)
    with atomic(path) as part:
        part.write_text("y")
    assert path.stat().st_mode & 0o777 == 0o640


def test_json_round_trip_and_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == {"ü": [1, None]}


def test_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 10**6)
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc" * 10**6).hexdigest()


def test_room_is_checked_where_the_folder_will_be(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 9, 2**20))
    check_room(tmp_path / "new" / "run", 2**20)
    with pytest.raises(ResourceError, match=r"1 MiB free, but the run needs about 2 MiB"):
        check_room(tmp_path / "new" / "run", 2**21)


def test_nothing_is_written_into_a_folder_that_was_taken_over_in_between(tmp_path):
    run = tmp_path / "run"
    run.mkdir()

    def written():
        with atomic(run / "a") as part:
            shutil.rmtree(run)
            run.mkdir()
            (run / "a").write_text("theirs")
            part.write_text("mine")

    with locked(run):
        with pytest.raises(RunError, match="removed or replaced"):
            written()
        with pytest.raises(RunError, match="removed or replaced"):
            made(run / "deep")
    assert {path.name: path.read_text() for path in run.iterdir()} == {"a": "theirs"}


def test_a_folder_within_a_run_is_made_once(tmp_path):
    with locked(tmp_path):
        assert made(tmp_path / "a" / "b") == made(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 5000, "it has 5,000 characters"),
        ("x" * 300 + ".csv", "it has 304 characters"),
        ("a\0b", "it holds a NUL"),
    ],
    ids=["path", "file", "NUL"],
)
@pytest.mark.parametrize("door", ["read", "teacher"])
def test_what_no_file_can_be_called_is_told(name, why, door):
    examples = from_arrays([[0.0], [1.0]] * 4, [0, 1] * 4)
    with pytest.raises(DataError, match=f"cannot be the name of a file: {why}"):
        read(name) if door == "read" else Distiller("mlp:4").fit(name, examples)
