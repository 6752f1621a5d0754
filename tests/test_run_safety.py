"""Kills of a command at every operation on the folder that it writes.

A small form runs with all tests; the whole by name, in minutes:
``pytest -m slow tests/test_run_safety.py tests/test_run_damage.py tests/test_run_strangers.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SLOW = pytest.mark.slow
SIZES = [pytest.param("small"), pytest.param("whole", marks=SLOW)]
SAME, SOFT = ["model.safetensors", "labels.parquet"], "soft_labels.safetensors"

# Kills. A program of its own, which loads the libraries and does no work, is forked for each trial: once for a command
# that dies, as by kill -9, before its n-th operation on the folder it writes to, and once for what a user does next.

FORKED = """
import contextlib, importlib, json, os, random, shutil, signal, sys
from pathlib import Path
import torch
from selfdistill.cli import main
from selfdistill import distill, runs, train
from selfdistill.train import _checkpoint_manager

torch.set_num_threads(1)
size, job = sys.argv[1], json.loads(sys.argv[2])
_checkpoint_manager._CHECKPOINT_SECONDS = 0.0
os.fsync = lambda handle: None  # a process that dies loses nothing that it wrote, and disks are slow
TOUCH = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "tempfile.mkstemp"}

def started(arguments, number=0, how=signal.SIGKILL, log="log"):
    child = os.fork()
    if not child:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    return number + job.get("step", step) if size == "whole" else job.get("faster", 2) * number + 1

def into(name, asked="begin"):
    if job.get("folder"):
        Path(name).mkdir(exist_ok=True)
    if "failed" in job and asked == "begin" and not Path(name).exists():
        shutil.copytree("failed", name)
    return [word.replace("{}", name) for word in job[asked]]

if "failed" in job:
    assert forked([word.replace("{}", "failed") for word in job["failed"]]) and Path("failed/run.json").exists()
assert forked(into("whole")) == 0, Path("log").read_text()
for name in Path("modules").read_text().splitlines():  # what each trial would load anew
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""

KILLS = """
def same(name):  # times are not compared
    bare = lambda found: {key: value for key, value in found.items() if key not in {"created", "seconds"}}
    made = [Path(run, name).read_bytes() for run in ("run", "whole")]
    made = [json.loads(one, object_hook=bare) for one in made] if name == "air.json" else made
    return made[0] == made[1]

number, first = 1, "fails" if "fails" in job else "begin"
while os.WIFSIGNALED(status := forked(into("run", first), number)):
    assert os.WTERMSIG(status) == signal.SIGKILL, number
    is_running = Path("run/run.json").exists() and json.loads(Path("run/run.json").read_text())["status"] != "failed"
    if first == "fails" and is_running:  # gone on with, it fails; then the folder is free
        assert forked(into("run", "resume")) and "error: " in Path("log").read_text(), number
        is_running = False
    again = "resume" if "resume" in job and is_running else "begin"
    if "resume" in job or not all(Path("run", name).exists() for name in job["same"]):
        assert forked(into("run", again)) == 0, (number, again, Path("log").read_text())
    for name in job["same"]:
        assert same(name), (number, name)
    assert "resume" not in job or not list(Path("run").rglob("*.part")), number
    shutil.rmtree("run")
    number = following(number)
assert bool(status) == (first == "fails"), number
print(number)
"""

# The first run stands still before its n-th operation. Its folder is removed, another run begins there and stands still
# as well; the first goes on to its end, and then the other.
REPLACED = """
def loss(run):
    return [json.loads(line)["loss"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]

def names(run):  # the file beside a checkpoint that was removed a moment too late may stay
    return {path.relative_to(run) for path in Path(run).rglob("*") if path.suffix != ".json"}

for left in ("run", "whole"):
    shutil.rmtree(left, ignore_errors=True)
assert forked([*into("whole"), *job["other"]]) == 0
draw, number = random.Random(0), 1
while os.WIFSTOPPED(os.waitpid(first := started(into("run"), number, signal.SIGSTOP), os.WUNTRACED)[1]):
    shutil.rmtree("run", ignore_errors=True)
    second = started([*into("run"), *job["other"]], draw.randrange(1, job["many"]), signal.SIGSTOP, "theirs")
    status = os.waitpid(second, os.WUNTRACED)[1]
    os.kill(first, signal.SIGCONT)
    code, words = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]), Path("log").read_text().splitlines()
    assert code == 2 and [line for line in words if line.startswith("error: ")] == words[-1:], (number, code, words)
    if os.WIFSTOPPED(status):
        os.kill(second, signal.SIGCONT)
        status = os.waitpid(second, 0)[1]
    assert status == 0, (number, Path("theirs").read_text())
    for name in job["same"]:
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), (number, name)
    assert loss("run") == loss("whole") and names("run") == names("whole"), number
    id = json.loads(Path("run/run.json").read_text())["id"]
    for path in Path("run/checkpoint").glob("*.pt"):
        assert torch.load(path, weights_only=True)["about"]["id"] == id, (number, path)
    shutil.rmtree("run")
    number = following(number, 3)
print(number)
"""

NETWORK = ["fit", "t.csv", "--epochs", "3", "--network", "mlp:4", "--keep-epochs", "2", "--batch-size", "40"]
CLOSED = ["fit", "t.csv", "--method", "kernel", "--landmarks", "10"]
STUDENT = ["distill", "closed", "--epochs", "1", "--student", "mlp:2"]
FIGURES = ("curves", "energy", "retrieval", "spectrum")
RESUMED = {"resume": ["fit", "--resume", "{}"]}


def written(*command: str, name: str) -> dict[str, Any]:
    """A command that writes one file into a folder of its own."""
    return {"begin": [*command, "--out", f"{{}}/{name}"], "folder": True, "same": [name]}


JOBS: dict[str, dict[str, Any]] = {
    "network": {
        "begin": [*NETWORK, "--out", "{}"],
        "same": [*SAME, "epochs/epoch-0002.safetensors"],
        "other": ["--seed", "5"],
        "many": 100,
        **RESUMED,
    },
    "closed": {
        "begin": [*CLOSED, "--out", "{}"],
        "same": SAME,
        "other": ["--rounds", "1"],
        "many": 20,
        "faster": 8,
        **RESUMED,
    },
    "after a failure": {
        "failed": [*NETWORK, "--lr", "1e20", "--out", "{}"],
        "begin": [*NETWORK, "--out", "{}"],
        "same": SAME,
        **RESUMED,
    },
    "a failing run": {
        "fails": [*NETWORK, "--lr", "1e20", "--out", "{}"],
        "begin": [*NETWORK, "--out", "{}"],
        "same": SAME,
        **RESUMED,
    },
    "closed form after a failure": {
        "failed": [*NETWORK, "--lr", "1e20", "--out", "{}"],
        "begin": [*CLOSED, "--out", "{}"],
        "same": SAME,
        **RESUMED,
    },
    "distill": {"begin": [*STUDENT, "--out", "{}"], "resume": ["distill", "--resume", "{}"], "same": [*SAME, SOFT]},
    "predict": written("predict", "closed", "t.csv", name="p.csv"),
    "refine": written("refine", "closed", "--relabel", name="r.csv"),
    "predict, Parquet": written("predict", "closed", "t.csv", name="p.parquet"),
    "refine, less": written("refine", "closed", "--drop", name="less.csv"),
    "air": {"begin": ["air", "closed", "--out", "{}", "--force"], "same": ["air.json", "directions.svg"]},
    "air of a network": {
        "begin": ["air", "trained", "--examples", "10", "--out", "{}", "--force"],
        "same": ["air.json", *(f"{name}.{end}" for name in FIGURES for end in ("svg", "png"))],
        "step": 3,  # seven operations write a file, so each is met for some; a figure takes a second
    },
}


@pytest.mark.parametrize(
    ("job", "size", "text", "least"),
    [
        pytest.param("network", "small", KILLS + REPLACED, 100, id="network, killed or replaced, small"),
        pytest.param("closed", "small", KILLS, 30, id="closed form, killed, small"),
        pytest.param("network", "whole", KILLS, 100, id="network, killed, whole", marks=SLOW),
        pytest.param("network", "whole", REPLACED, 100, id="network, replaced, whole", marks=SLOW),
        pytest.param("closed", "whole", KILLS, 30, id="closed form, killed, whole", marks=SLOW),
        pytest.param("closed", "whole", REPLACED, 30, id="closed form, replaced, whole", marks=SLOW),
        pytest.param("after a failure", "small", KILLS, 60, id="after a failure, killed, small", marks=SLOW),
        pytest.param("a failing run", "small", KILLS, 30, id="a failing run, killed, small", marks=SLOW),
        pytest.param(
            *("closed form after a failure", "small", KILLS, 30),
            id="closed form after a failure, killed, small",
            marks=SLOW,
        ),
        pytest.param("air of a network", "whole", KILLS, 10, id="air of a network, killed, whole", marks=SLOW),
        pytest.param("predict, Parquet", "whole", KILLS, 5, id="predict, Parquet, killed, whole", marks=SLOW),
        pytest.param("refine, less", "whole", KILLS, 5, id="refine, less, killed, whole", marks=SLOW),
        pytest.param("distill", "whole", KILLS, 50, id="distill, killed, whole", marks=SLOW),
        pytest.param("predict", "whole", KILLS, 5, id="predict, killed, whole", marks=SLOW),
        pytest.param("refine", "whole", KILLS, 5, id="refine, killed, whole", marks=SLOW),
        pytest.param("air", "whole", KILLS, 10, id="air, killed, whole", marks=SLOW),
    ],
)
def test_before_any_operation(here, job, size, text, least):
    """Killed it goes on, or begins anew, to the same bytes; replaced by another run it stops, and mixes nothing."""
    Path("run").rename("trained")
    command = [sys.executable, "-c", FORKED + text, size, json.dumps(JOBS[job])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > least
