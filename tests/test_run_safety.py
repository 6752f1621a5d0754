"""What may happen to a run directory: kills at every operation, flipped bits, links, pipes, records of strangers.

A small form runs with all tests; the whole by name, in minutes: ``pytest -m slow tests/test_run_safety.py``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from selfdistill import train
from selfdistill._core.errors import InputError
from selfdistill._core.record import read_record, write_record
from selfdistill.cli import main
from selfdistill.distill import load_store
from selfdistill.train import _checkpoint, _keeper

SIZES = [pytest.param("small"), pytest.param("whole", marks=pytest.mark.slow)]
FIT = ["fit", "t.csv", "--epochs", "3", "--network", "mlp:4", "--keep-epochs", "2", "--batch-size", "16"]
SAME = ("model.safetensors", "labels.parquet")


def call(*arguments: object) -> tuple[int, str]:
    """Run the command line in this process; anything but an exit is an error of ours."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0), err.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a finished run, one that was stopped, and a student that was stopped."""
    there = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2)).round(3)
    lines = [f"{a},{b},{'uv'[int(a > b)]},some words {int(9 * a)},{'xy'[int(a + rng.normal() / 3 > 0)]}" for a, b in x]
    (there / "t.csv").write_text("\n".join(["a,b,kind,text,label", *lines]) + "\n")
    with contextlib.chdir(there), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keeper, "_CHECKPOINT_SECONDS", 0.0)
        assert call(*FIT, "--out", "run")[0] == 0
        assert call("distill", "run", "--epochs", "2", "--student", "mlp:2", "--out", "student")[0] == 0
        for name, source in (("stopped", "run"), ("learning", "student")):
            shutil.copytree(source, name)
            record = read_record(Path(name))
            gone = {"curves", "result", "trust", "files"}
            left = {key: value for key, value in record.items() if key not in gone}
            write_record(Path(name), left | {"status": "interrupted"})
            for file in SAME:
                Path(name, file).unlink()
    return there


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = Path(shutil.copytree(made, tmp_path / "here"))
    monkeypatch.chdir(place)
    monkeypatch.setattr("selfdistill.air.save_figures", lambda folder, record: [])  # a second each
    return place


# Kills. A program of its own, which loads the libraries and does no work, is forked for each trial: once for a run that
# dies, as by kill -9, before its n-th operation on the run directory, and once for what a user does next.

FORKED = """
import contextlib, importlib, os, random, shutil, signal, sys
from pathlib import Path
import torch
from selfdistill.cli import main
from selfdistill import distill, train
from selfdistill.train import _keeper

torch.set_num_threads(1)
fit, size = sys.argv[2:], sys.argv[1]
_keeper._CHECKPOINT_SECONDS = 0.0
os.fsync = lambda handle: None  # a process that dies loses nothing that it wrote, and disks are slow
TOUCH = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "tempfile.mkstemp"}

def started(arguments, number=0, how=signal.SIGKILL, said="said"):
    child = os.fork()
    if not child:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        signal.alarm(60)
        count = 0
        def hook(event, values):
            nonlocal count
            if event in TOUCH and not isinstance(values[0], int) and "run" in Path(os.fsdecode(values[0])).parts:
                count += 1
                if count == number:
                    os.kill(os.getpid(), how)
        sys.addaudithook(hook)
        code = 1
        try:
            main(arguments)
        except SystemExit as left:
            code = left.code or 0
        if not number:
            Path("modules").write_text(chr(10).join(sys.modules))
        os._exit(code)
    return child

def forked(*arguments):
    return os.waitpid(started(*arguments), 0)[1]

def following(number, step=1):
    return number + step if size == "whole" else 2 * number + 1

assert forked([*fit, "--out", "whole"]) == 0
for name in Path("modules").read_text().splitlines():  # what each trial would load anew
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""

KILLS = """
number = 1
while os.WIFSIGNALED(status := forked([*fit, "--out", "run"], number)):
    assert os.WTERMSIG(status) == signal.SIGKILL, number
    again = ["fit", "--resume", "run"] if Path("run/run.json").exists() else [*fit, "--out", "run"]
    assert forked(again) == 0, (number, again)
    for name in ("model.safetensors", "labels.parquet"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), (number, name)
    assert not list(Path("run").rglob("*.part")), number
    shutil.rmtree("run")
    number = following(number)
assert status == 0, number
print(number)
"""

# The first run stands still before its n-th operation. Its folder is removed, another run begins there and stands still
# as well; the first goes on to its end, and then the other.
REPLACED = """
import json

def loss(run):
    return [json.loads(line)["loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]

def names(run):  # the file beside a checkpoint that was removed a moment too late may stay
    return {path.relative_to(run) for path in Path(run).rglob("*") if path.suffix != ".json"}

other = [*fit, "--seed", "5"]
for left in ("run", "whole"):
    shutil.rmtree(left, ignore_errors=True)
assert forked([*other, "--out", "whole"]) == 0
draw, number = random.Random(0), 1
while os.WIFSTOPPED(os.waitpid(first := started([*fit, "--out", "run"], number, signal.SIGSTOP), os.WUNTRACED)[1]):
    shutil.rmtree("run", ignore_errors=True)
    second = started([*other, "--out", "run"], draw.randrange(1, 100), signal.SIGSTOP, "theirs")
    status = os.waitpid(second, os.WUNTRACED)[1]
    os.kill(first, signal.SIGCONT)
    code, words = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]), Path("said").read_text().splitlines()
    assert code == 2 and [line for line in words if line.startswith("error: ")] == words[-1:], (number, code, words)
    if os.WIFSTOPPED(status):
        os.kill(second, signal.SIGCONT)
        status = os.waitpid(second, 0)[1]
    assert status == 0, (number, Path("theirs").read_text())
    for name in ("model.safetensors", "labels.parquet", "epochs/epoch-0002.safetensors"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), (number, name)
    assert loss("run") == loss("whole") and names("run") == names("whole"), number
    id = json.loads(Path("run/run.json").read_text())["id"]
    for path in Path("run/checkpoint").glob("*.pt"):
        assert torch.load(path, weights_only=True)["about"]["id"] == id, (number, path)
    shutil.rmtree("run")
    number = following(number, 3)
print(number)
"""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        pytest.param("small", KILLS + REPLACED, id="killed or replaced, small"),
        pytest.param("whole", KILLS, id="killed, whole", marks=pytest.mark.slow),
        pytest.param("whole", REPLACED, id="replaced, whole", marks=pytest.mark.slow),
    ],
)
def test_before_any_operation(here, text, size):
    """Killed it goes on, or begins anew, to the same bytes; replaced by another run it stops, and mixes nothing."""
    shutil.rmtree("run")
    command = [sys.executable, "-c", FORKED + text, size, *FIT[:-1], "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 100


# Bits. Whoever reads a file with one wrong bit refuses it, or reads what was there.


def weights(state: dict[str, torch.Tensor]) -> bytes:
    return b"".join(t.numpy().tobytes() for t in state.values())


def network() -> torch.nn.Module:
    return train.load_model(Path("run/model.safetensors")).network


def model() -> Any:
    found = train.load_model(Path("run/model.safetensors"))
    return weights(found.network.state_dict()), found.classes, found.preprocess.to_state()[0]


def kept() -> Any:
    path = train.kept_epochs(Path("run"))[2]
    return weights(train.load_epoch(path, network()).state_dict())


def findings() -> Any:
    found = train.read_findings(Path("run"))
    return [getattr(found, name).tolist() for name in ("ids", "given", "refined", "quality", "is_issue", "p_given")]


def soft() -> Any:
    found = load_store(Path("student/soft_labels.safetensors"))
    return found.soft.value.numpy().tobytes(), found.about


def checkpoint() -> Any:
    path, damaged = _checkpoint.latest(Path("run/checkpoint"))
    return path, damaged, weights(train.checkpoint_weights(sorted(Path("run/checkpoint").glob("*.pt"))[-1]))


READERS: dict[str, Callable[[], Any]] = {
    "run/run.json": lambda: read_record(Path("run")),
    "run/model.safetensors": model,
    "run/labels.parquet": findings,
    "run/epochs/epoch-0002.safetensors": kept,
    "student/soft_labels.safetensors": soft,
    "run/checkpoint/step-*.pt": checkpoint,
    "run/checkpoint/step-*.json": checkpoint,
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
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_every_command_reads_by_the_readers_that_refuse(here, command, name):
    path = sorted(here.glob(name))[0]
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    code, said = call(*command)
    assert code == 2
    assert said.splitlines()[-1].startswith("error: ")
    assert "damaged" in said


# Links, pipes and devices instead of each file and folder of a run.

COMMANDS = (
    ["fit", "--resume", "stopped"],
    ["fit", "--resume", "run"],
    ["predict", "run", "t.csv", "--out", "p.csv", "--force"],
    ["refine", "run", "--drop", "--out", "r.csv"],
    ["distill", "run", "--epochs", "1", "--student", "mlp:2", "--out", "s"],
    ["distill", "--resume", "learning"],
    ["air", "run", "--examples", "10", "--out", "air", "--force"],
)


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


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_outside_is_read_or_written_through_a_run(here, tmp_path, command, kind):
    run = Path(next(word for word in command if word in {"run", "stopped", "learning"}))
    outside, fresh = tmp_path / "outside", tmp_path / "fresh"
    shutil.copytree(here, fresh)
    names = [p.relative_to(run) for p in sorted(run.rglob("*"))] + [Path(".lock")]
    for name in names:
        shutil.copytree(fresh, here, dirs_exist_ok=True)
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        if (run / name).exists():
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
            code, said = call(*command)
        assert code in {0, 2}, said
        assert everything(outside) == before, name
        for left in ("s", "r.csv", "p.csv", "air"):
            shutil.rmtree(left) if Path(left).is_dir() else Path(left).unlink(missing_ok=True)
        if (run / name).is_symlink() or (run / name).is_fifo():
            (run / name).unlink()


# Records, models and tables of strangers, with digests that are right or none: one line, whatever they hold.

ODD = [None, "x\x1b", -1, [], {}, 10**30, [[1]], 1e308]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*above, name)
        yield from places(one, (*above, name))


def changed(whole: Any, rng: random.Random) -> Any:
    value = copy.deepcopy(whole)
    *above, name = rng.choice(list(places(value)))
    part = value
    for one in above:
        part = part[one]
    if rng.random() < 0.15:
        del part[name]
    else:
        part[name] = rng.choice(ODD)
    return value


def one_line(command: list[str], what: object) -> None:
    code, said = call(*command)
    assert code in {0, 2}, (command, what)
    assert code == 0 or [line for line in said.splitlines() if line.startswith("error: ")] == said.splitlines()[-1:], (
        what
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_malformed_record_is_one_line(here, tmp_path, command, size):
    run = Path(next(word for word in command if word in {"run", "stopped", "learning"}))
    whole, rng = read_record(run), random.Random(1)
    shutil.copytree(here, tmp_path / "fresh")
    for _ in range(150 if size == "whole" else 12):
        record = changed(whole, rng)
        write_record(run, record)
        one_line(command, record)
        shutil.rmtree(run)
        shutil.copytree(tmp_path / "fresh" / run, run)
        for left in ("s", "air"):
            shutil.rmtree(left, ignore_errors=True)
        Path("r.csv").unlink(missing_ok=True)


def without_digests(run: Path) -> None:
    record = {name: value for name, value in read_record(run).items() if name not in {"digest", "files"}}
    (run / "run.json").write_text(json.dumps(record | {"schema": 1}))


@pytest.mark.parametrize("size", SIZES)
def test_a_malformed_description_of_a_model_is_one_line(here, size):
    without_digests(Path("run"))
    with safe_open("run/model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        description = json.loads(file.metadata()["description"])
    rng = random.Random(2)
    for _ in range(400 if size == "whole" else 40):
        said = changed(description, rng)
        save_file(tensors, "run/model.safetensors", {"description": json.dumps(said)})
        one_line(["predict", "run", "t.csv", "--out", "p.csv", "--force"], said)


@pytest.mark.parametrize("size", SIZES)
def test_a_malformed_table_is_one_line(here, size):
    without_digests(Path("run"))
    path, rng = Path("run/labels.parquet"), random.Random(3)
    whole = path.read_bytes()
    for _ in range(600 if size == "whole" else 60):
        content = bytearray(whole)
        for place in rng.sample(range(max(0, len(whole) - 2500), len(whole)), rng.choice([1, 1, 3])):
            content[place] = rng.choice([0, 255, content[place] ^ (1 << rng.randrange(8))])
        path.write_bytes(content)
        one_line(["refine", "run", "--relabel", "--out", "r.csv"], content[-2500:])
        Path("r.csv").unlink(missing_ok=True)
