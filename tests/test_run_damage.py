"""What may happen to a run directory at rest: flipped bits, links, pipes and devices.

A small form runs with all tests; the whole by name, in minutes: ``pytest -m slow tests/test_run_damage.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import COMMANDS, RUNS

from selfdistill._core.errors import InputError, RunError
from selfdistill._core.record import read_record
from selfdistill.distill._soft_labels import load_store
from selfdistill.runs._label_table import read_label_table
from selfdistill.runs._model_file import epoch_snapshots, load_model, load_snapshot
from selfdistill.runs._run_files import lost
from selfdistill.train._checkpoint import load_checkpoint

SLOW = pytest.mark.slow
SIZES = [pytest.param("small"), pytest.param("whole", marks=SLOW)]

# Bits. Whoever reads a file with one wrong bit refuses it, or reads what was there.


def weights(state: dict[str, torch.Tensor]) -> bytes:
    return b"".join(t.numpy().tobytes() for t in state.values())


def network() -> torch.nn.Module:
    return load_model(Path("run/model.safetensors")).network


def model(run: str) -> Any:
    found = load_model(Path(run, "model.safetensors"))
    return weights(found.network.state_dict()), found.classes, found.preprocess.to_state()[0]


def kept() -> Any:
    path = epoch_snapshots(Path("run"))[2]
    return weights(load_snapshot(path, network()).state_dict())


def findings(run: str) -> Any:
    found = read_label_table(Path(run))
    return [getattr(found, name).tolist() for name in ("ids", "given", "refined", "quality", "is_issue", "p_given")]


def soft() -> Any:
    found = load_store(Path("student/soft_labels.safetensors"))
    return found.soft.value.numpy().tobytes(), found.about


def checkpoint() -> Any:
    last = sorted(Path("run/checkpoint").glob("*.pt"))[-1]
    return weights(load_checkpoint(last, network()).state_dict())


def metrics(run: str) -> Any:
    if lost(Path(run), read_record(Path(run))):
        raise RunError("it is written anew")


READERS: dict[str, Callable[[], Any]] = {
    "run/run.json": lambda: read_record(Path("run")),
    "run/model.safetensors": lambda: model("run"),
    "run/labels.parquet": lambda: findings("run"),
    "run/metrics.jsonl": lambda: metrics("run"),
    "run/epochs/epoch-0002.safetensors": kept,
    "student/soft_labels.safetensors": soft,
    "run/checkpoint/step-*.pt": checkpoint,
    "run/checkpoint/step-*.json": checkpoint,
    "closed/run.json": lambda: read_record(Path("closed")),
    "closed/model.safetensors": lambda: model("closed"),
    "closed/labels.parquet": lambda: findings("closed"),
    "closed/metrics.jsonl": lambda: metrics("closed"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", READERS)
def test_no_flipped_bit_is_read_in_silence(here, name, size):
    path, reader = sorted(here.glob(name))[-1], READERS[name]
    whole, before, refused = path.read_bytes(), reader(), 0
    bits = 8 * len(whole)
    chosen = random.Random(0).sample(range(bits), min(bits, 2000 if size == "whole" else 60))
    for bit in chosen:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert reader() == before, bit
        except InputError:
            refused += 1
    assert refused > 0.95 * len(chosen)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["predict", "run", "t.csv", "--out", "p.csv"], "run/model.safetensors"),
        (["refine", "run", "--drop", "--out", "r.csv"], "run/labels.parquet"),
        (["distill", "run", "--epochs", "1", "--student", "mlp:2", "--out", "s"], "run/model.safetensors"),
        (["distill", "run/epochs/epoch-0002.safetensors", "--out", "s"], "run/epochs/epoch-0002.safetensors"),
        (
            ["distill", "student/soft_labels.safetensors", "--epochs", "1", "--out", "s"],
            "student/soft_labels.safetensors",
        ),
        (["distill", "--resume", "learning"], "learning/soft_labels.safetensors"),
        (["air", "run", "--examples", "10", "--out", "air"], "run/model.safetensors"),
        (["air", "run", "--examples", "10", "--out", "air"], "run/checkpoint/step-*.pt"),
        (["air", "run", "--examples", "10", "--out", "air"], "run/labels.parquet"),
        (["predict", "closed", "t.csv", "--out", "p.csv"], "closed/model.safetensors"),
        (["refine", "closed", "--drop", "--out", "r.csv"], "closed/labels.parquet"),
        (["distill", "closed", "--epochs", "1", "--student", "mlp:2", "--out", "s"], "closed/model.safetensors"),
        (["air", "closed", "--out", "air"], "closed/run.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_every_command_reads_by_the_readers_that_refuse(here, call, command, name):
    path = sorted(here.glob(name))[0]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    code, output = call(*command)
    assert code == 2
    assert output.splitlines()[-1].startswith("error: ")
    assert "damaged" in output


# Links, pipes and devices instead of each file and folder of a run.

READ = {"predict": ["run.json", "model.safetensors"], "refine": ["run.json", "labels.parquet"], "air": ["run.json"]}
KINDS = ("link", "dangling link", "pipe", "device")


def marks(command: list[str], kind: str) -> list[pytest.MarkDecorator]:
    """The small form has each command with one kind, and one command with each."""
    return [] if kind == "link" or command == COMMANDS[0] else [SLOW]


@contextlib.contextmanager
def in_a_minute() -> Generator[None]:
    """A pipe that is opened waits for ever."""

    def late(number: int, frame: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def everything(place: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        pytest.param(command, kind, id=f"{' '.join(command)}, {kind}", marks=marks(command, kind))
        for command in COMMANDS
        for kind in KINDS
    ],
)
def test_nothing_outside_is_read_or_written_through_a_run(here, call, tmp_path, command, kind):
    run = Path(next(word for word in command if word in RUNS))
    outside, fresh = tmp_path / "outside", tmp_path / "fresh"
    shutil.copytree(here, fresh)
    names = [p.relative_to(run) for p in sorted(run.rglob("*"))] + [Path(".lock"), Path("air")]
    for name in names:
        shutil.copytree(fresh, here, dirs_exist_ok=True)
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        if name == Path("air"):  # where `air` writes by itself
            shutil.rmtree(run / name, ignore_errors=True)
            (outside / "there").mkdir()
            (outside / "there" / "air.json").write_text("mine")
        elif (run / name).exists():
            shutil.move(run / name, outside / "there")
        else:
            (outside / "there").write_text("mine")
        before = everything(outside)
        if kind == "pipe":
            os.mkfifo(run / name)
        else:
            target = {"link": outside / "there", "device": Path("/dev/zero"), "dangling link": outside / "new"}[kind]
            (run / name).symlink_to(target)
        with in_a_minute():
            code, output = call(*command)
        assert code in {0, 2}, output
        assert code or str(name) not in READ.get(command[0], ()), name
        assert everything(outside) == before, name
        for left in ("s", "r.csv", "p.csv", "air"):
            shutil.rmtree(left) if Path(left).is_dir() else Path(left).unlink(missing_ok=True)
        if (run / name).is_symlink() or (run / name).is_fifo():
            (run / name).unlink()
