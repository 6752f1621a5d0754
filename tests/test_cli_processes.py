"""Processes that the command starts: who is waited for, who is ended, and what is said of it. Whole ones: train/."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from selfdistill._core.errors import ResourceError, SettingError
from selfdistill._core.wording import GROUP, as_many
from selfdistill.cli import _processes
from selfdistill.cli._processes import Several, check_processes, in_processes, last_words
from selfdistill.train._runtime import process_group


def running(*programs: str) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", program]) for program in programs]


def test_what_is_stuck_is_ended_after_a_while_where_another_ended_badly(monkeypatch):
    monkeypatch.setattr(_processes, "_GRACE", 0.2)
    workers = running("import time; time.sleep(60)", "raise SystemExit(2)")
    assert _processes._ended(workers) == 1
    assert [worker.returncode for worker in workers] == [-9, 2]
    workers = running("import time; time.sleep(0.7)", "")
    assert _processes._ended(workers) is None  # one that ended well hurries nobody


@pytest.mark.parametrize(
    ("first", "code", "message"),
    [
        ("words('error: no x'); sys.exit(2)", 2, "error: no x"),
        ("words('stopped'); sys.exit(130)", 130, "stopped"),
        (
            "os.kill(os.getpid(), 9)",
            137,
            "error: process 1 of 2 was ended by SIGKILL. Go on with --resume and as many --p",
        ),
        ("sys.exit(1)", 1, "error: another process"),  # after a traceback of its own
        ("", 0, ""),
    ],
)
def test_one_line_is_said_and_it_is_that_of_the_first_to_end(monkeypatch, capsys, first, code, message):
    program = f"""
import os, sys, time
rank, folder = os.environ["RANK"], os.environ["{GROUP}"]
words = lambda text: open(f"{{folder}}/words-{{rank}}", "w").write(text)
if rank == "0":
    {first or "sys.exit(0)"}
time.sleep(0.5)
{"words('error: another process has ended'); sys.exit(2)" if first else ""}
"""
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **kwargs: start([sys.executable, "-c", program], **kwargs))
    assert in_processes(2, []) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == bool(message)
    assert err.startswith(message)


def test_who_starts_processes_and_who_does_not(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(Several) as asked:
        check_processes(2)
    assert asked.value.count == 2
    check_processes(1)
    with pytest.raises(SettingError, match=rf"processes is 99,999,999, but must be at most {max(8, os.cpu_count())}"):
        check_processes(99_999_999)
    with pytest.raises(SettingError, match="processes is 0, but must be at least 1"):
        check_processes(0)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(
        SettingError,
        match=r"processes was given, but torchrun has already started the processes. Leave `processes` out",
    ):
        check_processes(2)
    monkeypatch.setenv(GROUP, "somewhere")
    check_processes(2)


def test_last_words_and_how_many_go_on(monkeypatch, tmp_path, capsys):
    last_words("alone")
    assert capsys.readouterr().err == "alone\n"
    assert as_many() == ""
    for name, value in {GROUP: str(tmp_path), "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    last_words("of two")
    assert capsys.readouterr().err == ""
    assert (tmp_path / "words-1").read_text() == "of two"
    assert as_many() == " --processes 2"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # on two machines
    assert as_many() == ""


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ResourceError, match=r"process 2 has no GPU: this machine has 1. Take as many"),
        process_group("cuda"),
    ):
        pass
