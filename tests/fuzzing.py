"""A fuzzer for each reader: `python -m tests.fuzzing --seconds 300 --out FOLDER`, once before a release.

Each input is read, or refused in one line of our own; anything else, and more than 20 seconds, is a finding. An input
that reaches new lines of the package is kept, and inputs are made from those that were kept. FOLDER gets
`fuzz_seeds.zip`, to be kept beside this file, `fuzzing.json`, a record, and `findings`, the shortest input of each.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.fuzz_readers import READERS, Reader, attempt, make_place

import selfdistill

HERE = Path(__file__).parent
HANGS = 20  # seconds of the processor
ROUND = 20  # seconds of the processor before it is the next reader's turn
LARGEST = 50_000  # bytes of an input that is kept
PACKAGE = str(Path(selfdistill.__file__).parent)


class Hangs(BaseException):
    """Raised by the timer, past all that catches exceptions."""


def kept_seeds(reader: str) -> list[bytes]:
    """Inputs of earlier runs that reached lines of their own, or were findings."""
    with zipfile.ZipFile(HERE / "fuzz_seeds.zip") as archive:
        return [archive.read(name) for name in archive.namelist() if name.startswith(f"{reader}/")]


@dataclass
class State:
    """What is known of one reader."""

    pool: list[bytes]
    kept: list[bytes] = field(default_factory=list)
    lines: set[tuple[CodeType, int]] = field(default_factory=set)
    found: dict[str, bytes] = field(default_factory=dict)
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0


def traced(work: Callable[[], object]) -> set[tuple[CodeType, int]]:
    """Run, and give the lines of the package that were reached."""
    lines: set[tuple[CodeType, int]] = set()

    def local(frame: FrameType, event: str, value: Any) -> Any:
        lines.add((frame.f_code, frame.f_lineno))
        return local

    def calls(frame: FrameType, event: str, value: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    threading.settrace(calls)
    sys.settrace(calls)
    try:
        work()
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    return lines


def tried(reader: Reader, place: Path, data: bytes, state: State) -> None:
    """Read one input; keep it if it reaches something new, or is a finding."""
    refused = False

    def work() -> None:
        nonlocal refused
        refused = not attempt(lambda: reader.check(place, data))

    state.inputs += 1
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
    faulthandler.dump_traceback_later(600, exit=True)
    try:
        new = traced(work) - state.lines
    except (Exception, Hangs) as error:
        where = [one for one in traceback.extract_tb(error.__traceback__) if one.filename.startswith(PACKAGE)]
        last = f"{Path(where[-1].filename).relative_to(PACKAGE)}:{where[-1].lineno}" if where else "fuzzer"
        name = f"{type(error).__name__} in {last}: {re.sub(r'[^ -~]', '?', str(error))[:200]}"
        known = next((one for one in state.found if one.partition(": ")[0] == name.partition(": ")[0]), name)
        if len(data) < len(state.found.get(known, data + b" ")):
            state.found[known] = data
        return
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
    state.refused += refused
    state.lines |= new
    if new and len(data) <= LARGEST:
        state.kept.append(data)


def turn(reader: Reader, place: Path, state: State, number: int, seconds: float) -> None:
    """Try inputs for the seconds of one turn."""
    started = time.process_time()

    @seed(number)
    @settings(
        max_examples=10_000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(reader.inputs([*state.pool, *state.kept]))
    def run(data: bytes) -> None:
        if time.process_time() - started > seconds:
            raise TimeoutError
        tried(reader, place, data, state)

    for data in [] if state.inputs else state.pool:
        tried(reader, place, data, state)
    with contextlib.suppress(TimeoutError):
        run()
    state.seconds += time.process_time() - started


def write(out: Path, states: dict[str, State]) -> None:
    """Write what was kept, what was found, and the record."""
    with zipfile.ZipFile(out / "fuzz_seeds.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, state in states.items():
            for number, data in enumerate([*state.kept, *state.found.values()]):
                archive.writestr(zipfile.ZipInfo(f"{name}/{number:03d}"), data, zipfile.ZIP_DEFLATED, 9)
    (out / "findings").mkdir(exist_ok=True)
    for name, state in states.items():
        for number, data in enumerate(state.found.values()):
            (out / "findings" / f"{name}-{number}").write_bytes(data)
    record = {
        name: {
            "processor_seconds": round(state.seconds),
            "inputs": state.inputs,
            "refused": state.refused,
            "kept": len(state.kept),
            "lines_reached": len(state.lines),
            "findings": list(state.found),
        }
        for name, state in states.items()
    }
    (out / "fuzzing.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="of the processor, for each reader")
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)

    def late(number: int, frame: Any) -> None:
        raise Hangs

    os.fsync = lambda handle: None  # disks are slow
    signal.signal(signal.SIGVTALRM, late)
    place = make_place(Path(tempfile.mkdtemp()))
    os.chdir(place)
    kept = (HERE / "fuzz_seeds.zip").exists()
    states = {
        name: State([*READERS[name].seeds(place), *(kept_seeds(name) if kept else [])]) for name in options.readers
    }
    number = options.seed
    try:
        while any(state.seconds < options.seconds for state in states.values()):
            for name, state in states.items():
                number += 1
                if state.seconds < options.seconds:
                    turn(READERS[name], place, state, number, min(ROUND, options.seconds - state.seconds))
                    write(options.out, states)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
