"""Several processes of one command on this machine: started here, ended together, with one line and one exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.wording import GROUP
from selfdistill.cli._display import speak

_GRACE = 20.0  # seconds; gloo and NCCL tell a lost process at once, and a run may be killed at any time
_LOOK = 0.05
_FEW = 8  # processes that any machine may start
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")


class Several(Exception):  # noqa: N818 (no failure)
    """The command is to be done by several processes instead of this one."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def check_processes(count: int | None) -> None:
    """Go on in this process only where it does the work: alone, or as one of several."""
    if count is None or GROUP in os.environ:
        return
    if count < 1:
        problem = f"processes is {count}, but must be at least 1"
        raise SettingError(problem, Advice("Leave {--processes} out for one."), param="processes")
    if "RANK" in os.environ:
        raise SettingError(
            "processes was given, but torchrun has already started the processes",
            Advice("Leave {--processes} out, or torchrun."),
            param="processes",
        )
    most = max(_FEW, os.cpu_count() or 1)
    if count > most:
        raise SettingError(
            f"processes is {count:,}, but must be at most {most}", "Take as many as there are GPUs or cores."
        )
    if count > 1:
        raise Several(count)


def in_processes(count: int, arguments: Sequence[str]) -> int:
    """Run a command in several processes, which find each other by a file."""
    with tempfile.TemporaryDirectory(prefix="selfdistill-") as folder:
        shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), GROUP: folder}
        workers: list[subprocess.Popen[bytes]] = []
        with _forwarding(workers):
            for rank in map(str, range(count)):
                command = [sys.executable, "-P", "-m", "selfdistill", *arguments]
                env = {"OMP_NUM_THREADS": "1"} | os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}
                workers.append(subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, start_new_session=True))
            first = _ended(workers)
        if first is None:
            return 0
        files = [Path(folder, f"words-{rank}") for rank in (first, *range(count))]
        text = next((path.read_text(encoding="utf-8", errors="surrogatepass") for path in files if path.exists()), None)
    code = workers[first].returncode
    if code < 0:
        text = (
            f"error: process {first + 1} of {count} was ended by {signal.Signals(-code).name}. "
            "Go on with --resume and as many --processes."
        )
    if text is not None:  # else it ended by a traceback, which is there already
        speak(text)
    return code if code > 0 else 128 - code


def last_words(text: str) -> None:
    """Say how this process ends; one of several leaves that to the process that started them."""
    if GROUP in os.environ:
        Path(os.environ[GROUP], f"words-{os.environ['RANK']}").write_text(
            text, encoding="utf-8", errors="surrogatepass"
        )
    else:
        speak(text)


@contextmanager
def _forwarding(workers: Sequence[subprocess.Popen[bytes]]) -> Generator[None]:
    """Pass on what would end this process."""

    def forward(number: int, frame: Any) -> None:
        for worker in workers:
            worker.send_signal(number)  # nothing, where it has ended

    before = {name: signal.signal(getattr(signal, name), forward) for name in _FORWARDED}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _ended(workers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all; give the number of the first that ended badly."""
    first, ends = None, 0.0
    while any(worker.poll() is None for worker in workers):
        time.sleep(_LOOK)
        bad = [rank for rank, worker in enumerate(workers) if worker.poll()]
        if first is None and bad:
            first, ends = bad[0], time.monotonic() + _GRACE
        if first is not None and time.monotonic() > ends:
            for worker in workers:
                worker.kill()
    return first if first is not None else next((r for r, worker in enumerate(workers) if worker.returncode), None)
