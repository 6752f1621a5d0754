from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from selfdistill._core import lock
from selfdistill._core.errors import RunError
from selfdistill._core.lock import LOCK, locked

fcntl = pytest.importorskip("fcntl")

HOLDER = """
import sys, time
from pathlib import Path
from selfdistill._core.lock import locked
with locked(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_and_told_who_has_it(tmp_path):
    with locked(tmp_path), pytest.raises(RunError) as refused, locked(tmp_path):
        pass
    wanted = f"{tmp_path} is in use by another process ({os.getpid()}). Wait until it ends, or start a new run with"
    assert str(refused.value).startswith(wanted)
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_another_process_is_refused_and_one_killed_is_taken_over(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(RunError, match=rf"in use by another process \({holder.pid}\)"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (tmp_path / LOCK).read_text() == str(holder.pid)
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_lets_go(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_by_its_holder_in_between_is_made_again(tmp_path, monkeypatch):
    flock, times = fcntl.flock, []

    def late(handle, how):
        times.append(how)
        if len(times) == 1:
            (tmp_path / LOCK).unlink()
        flock(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with locked(tmp_path):
        assert len(times) == 2
        assert (tmp_path / LOCK).exists()


def test_where_the_file_system_has_no_locks_the_last_to_come_has_it(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    with locked(tmp_path):
        lock.name_run(tmp_path, "a" * 32)
        with locked(tmp_path):
            lock.name_run(tmp_path, "b" * 32)
            lock.check_held(tmp_path / "x")
        with pytest.raises(RunError, match="was removed or replaced"):
            lock.check_held(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_names_its_run_and_one_of_another_run_is_not_ours(tmp_path):
    with locked(tmp_path):
        lock.name_run(tmp_path, "a" * 32)
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()} {'a' * 32}"
        with pytest.raises(RunError, match=rf"in use by another process \({os.getpid()}\)\. Wait"), locked(tmp_path):
            pass
        (tmp_path / LOCK).write_text(f"{os.getpid()} {'b' * 32}")  # the same file, the same process
        with pytest.raises(RunError, match="was removed or replaced"):
            lock.check_held(tmp_path / "x")
        with pytest.raises(RunError, match="was removed or replaced"):
            lock.name_run(tmp_path, "a" * 32)
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("kind", ["link", "hard link", "long file", "pipe"])
def test_a_lock_that_is_no_lock_is_refused_and_nothing_is_written_through_it(tmp_path, kind):
    mine, run = tmp_path / "mine.txt", tmp_path / "run"
    mine.write_text("dear")
    run.mkdir()
    if kind == "link":
        (run / LOCK).symlink_to(mine)
    elif kind == "hard link":
        (run / LOCK).hardlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(run / LOCK)
    else:
        (run / LOCK).write_text("x" * 100)
    with (
        pytest.raises(RunError, match=r"run/\.lock is a link, or not a lock file of selfdistill. Remove it"),
        locked(run),
    ):
        pass
    assert mine.read_text() == "dear"


def test_a_folder_that_was_removed_and_made_anew_is_no_longer_held(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with locked(run):
        lock.check_held(run / "a.txt")
        lock.check_held(tmp_path / "elsewhere.txt")
        shutil.rmtree(run)
        with pytest.raises(RunError, match="was removed or replaced while this process wrote to it"):
            lock.check_held(run / "deep" / "a.txt")
        run.mkdir()
        with locked(run):
            lock.check_held(run / "a.txt")
            assert lock.is_held(run)
        (run / LOCK).write_text("another's")
        assert not lock.is_held(run)
    assert (run / LOCK).read_text() == "another's"
