"""Two processes under torchrun teach the student that one does: teacher, soft labels, generations, kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

FEW = ["--student", "mlp:8", "--epochs", "3", "--batch-size", "10"]
KERNEL = ["--choose", "air"]
CASES = {
    "kernel and generations": ["--objective", "born-again", "--generations", "2", *KERNEL],
    "hinton": [],
}


def start(processes: int, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, *many, "-m", "selfdistill", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(processes: int, *arguments: str, folder: Path, code: int = 0) -> tuple[str, str]:
    out, err = (running := start(processes, *arguments, folder=folder)).communicate(timeout=120)
    assert running.returncode == code, err
    return out, err


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """101 examples, so that shards are padded, and a run that kept its epochs."""
    folder = tmp_path_factory.mktemp("songs")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(101, 3)), columns=list("abc"))
    frame["kind"] = np.where(frame["a"] > 0, "x", np.where(frame["b"] > 0, "y", "z"))
    frame.to_csv(folder / "songs.csv", index=False)
    options = ["--method", "cross-entropy", "--network", "mlp:16", "--epochs", "4", "--keep-epochs", "all"]
    launch(1, "fit", "songs.csv", "--label", "kind", *options, "--held-out", "0.1", folder=folder)
    return folder


def distance(a: Path, b: Path) -> float:
    one, two = load_file(a), load_file(b)
    assert one.keys() == two.keys()
    return max((one[name].double() - two[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.slow] * (c == "hinton")) for c in CASES])
def test_two_processes_teach_the_student_of_one(songs, case):
    one, two = songs / f"{case} one", songs / f"{case} two"
    for processes, run in ((1, one), (2, two)):
        arguments = ["distill", "runs/songs-001", *FEW, *CASES[case], "--out", run.name]
        out, err = launch(processes, *arguments, folder=songs)
        assert out.count(f"Files in {run.name}") == 1
        assert err.count("Learning from runs") == 1
    assert distance(one / "model.safetensors", two / "model.safetensors") < 1e-4
    assert (one / "soft_labels.safetensors").read_bytes() == (two / "soft_labels.safetensors").read_bytes()
    a, b = (json.loads((run / "run.json").read_text()) for run in (one, two))
    assert a["curves"]["loss"] == pytest.approx(b["curves"]["loss"], rel=1e-3)
    assert a["distillation"]["epoch"] == b["distillation"]["epoch"]
    assert a["distillation"]["dark_knowledge"] == b["distillation"]["dark_knowledge"]


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on_and_end_with_the_same_bytes(songs):
    arguments = ["distill", "runs/songs-001", *FEW, "--epochs", "40"]
    launch(2, *arguments, "--out", "whole", folder=songs)
    running, checkpoints = start(2, *arguments, "--out", "cut", folder=songs), songs / "cut" / "checkpoint"
    ends = time.monotonic() + 60
    while not list(checkpoints.glob("*.json")) and time.monotonic() < ends and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)  # torchrun ends its processes
    running.communicate(timeout=60)
    assert json.loads((songs / "cut" / "run.json").read_text())["status"] != "finished"
    launch(2, "distill", "--resume", "cut", folder=songs)
    for name in ("model.safetensors", "labels.parquet"):
        assert (songs / "cut" / name).read_bytes() == (songs / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_what_is_wrong_is_said_once_and_nothing_is_left(songs):
    _, err = launch(2, "distill", "runs/songs-001", *FEW, "--choose", "best", "--out", "none", folder=songs, code=1)
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert not (songs / "none").exists()
