"""Two processes with half a batch each must end where one process with the whole batch does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from selfdistill import train
from selfdistill._core.events import RunStarted
from selfdistill._core.lock import locked
from selfdistill._core.record import read_json_record
from selfdistill._core.sample_mean import SampleMean
from selfdistill.data._source import from_arrays
from selfdistill.networks._build import build
from selfdistill.train._fit import fit as train_fit
from selfdistill.train._runtime import local_statistics

# Runs under torchrun or alone. 101 examples in batches of 10: shards are padded and some examples written twice. The
# batch agreement of the authors' loss and SAT's weights count padding, so they are held to 100, where there is none.
SCRIPT = """
import json, sys, torch
from selfdistill._core import dist
from selfdistill.data._source import from_arrays
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._runtime import process_group

torch.set_num_threads(1)
name, out, broken, asked = sys.argv[1:5]
waits, alone = [], torch.nn.parallel.DistributedDataParallel.no_sync
torch.nn.parallel.DistributedDataParallel.no_sync = lambda self: waits.append(0) or alone(self)
if broken == "broken":  # drop the division by write counts
    from selfdistill._core.sample_mean import SampleMean
    def merge(self):
        self._add()
        total, count = dist.sum_over_processes(self.total.clone()), dist.sum_over_processes(self.count.clone())
        self.total.zero_(); self.count.zero_()
        return total, count > 0
    SampleMean.merge = merge
g = torch.Generator().manual_seed(0)
n = 100 if name in {"dong-3", "sat"} else 101
x = torch.randn(n, 5, generator=g)
y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
with process_group("cpu"):
    settings = Settings(method=name, network="mlp:16", epochs=3, batch_size=10, **json.loads(asked)).resolve(n, "cpu")
    fitted = fit(from_arrays(x.numpy(), y.numpy()), settings)
    if dist.rank() == 0:
        torch.save({"targets": fitted.targets.state_dict(), "model": fitted.model.state_dict(),
                    "loss": [c["loss"] for c in fitted.curves], "waits": len(waits)}, out)
"""


def launch(tmp_path, name, processes, broken="", **asked):
    script, out = tmp_path / "script.py", tmp_path / f"{name}-{processes}{broken}.pt"
    script.write_text(SCRIPT)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*command, str(script), name, str(out), broken or "whole", json.dumps(asked)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(out, weights_only=True)


def distance(a, b):
    return max((a[k].double() - b[k].double()).abs().max().item() for k in a)


@pytest.mark.parametrize("name", ["selfdistill", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dong-3", "sat"))])
def test_two_processes_give_the_targets_of_one_with_the_same_global_batch(tmp_path, name):
    one, two = launch(tmp_path, name, 1), launch(tmp_path, name, 2)
    assert distance(one["model"], two["model"]) < 1e-4
    assert distance(one["targets"], two["targets"]) < 1e-4
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)


def test_processes_accumulate_and_average_as_one_does(tmp_path):
    """Each computes its part of a batch in two, and they exchange gradients once a step: 10 steps, 3 epochs."""
    one, two = launch(tmp_path, "selfdistill", 1, ema=0.8), launch(tmp_path, "selfdistill", 2, ema=0.8, accumulate=2)
    assert distance(one["model"], two["model"]) < 1e-4
    assert distance(one["targets"], two["targets"]) < 1e-4
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    assert (one["waits"], two["waits"]) == (0, 30)


def test_without_the_division_by_write_counts_the_predictions_are_refused(tmp_path):
    with pytest.raises(AssertionError, match=r"the predictions of a row sum to 2 .* must be probabilities"):
        launch(tmp_path, "selfdistill", 2, "broken")


def test_the_broken_merge_is_the_real_one_but_for_the_division():
    a = SampleMean(2, 1)
    a.stage(torch.tensor([0, 0]), torch.tensor([[1.0], [3.0]]))
    assert a.merge()[0].tolist() == [[2.0], [0.0]]


def workers_of(launcher):
    """Processes by rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) if folder.name.isdigit() else 0
            if parent == launcher:
                variables = (folder / "environ").read_bytes().split(b"\0")
                found |= {int(one[5:]): int(folder.name) for one in variables if one.startswith(b"RANK=")}
        except OSError:
            continue
    return found


ELASTIC = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@contextlib.contextmanager
def fitting(tmp_path, by):
    """A fit of two processes that takes for ever, once it has saved; its launcher and its processes by rank."""
    table, out = tmp_path / "t.csv", tmp_path / "run"
    table.write_text("a,b,label\n" + "".join(f"{i % 7},{i % 5},{'xy'[i % 2]}\n" for i in range(60)))
    fit = ["-m", "selfdistill", "fit", str(table), "--epochs", "100000", "--network", "mlp:8", "--out", str(out)]
    resumed = ["-m", "selfdistill", "fit", "--resume", str(out), "--processes", "2"]
    start = {"torchrun": [*ELASTIC, *fit], "processes": [*fit, "--processes", "2"], "resume": resumed}[by]
    environment, workers, saved = os.environ | {"OMP_NUM_THREADS": "1"}, {}, lambda: set(out.glob("checkpoint/*.json"))
    before = saved()
    with subprocess.Popen([sys.executable, *start], env=environment, stderr=subprocess.PIPE, text=True) as ran:
        try:
            started = time.monotonic()
            while saved() <= before and time.monotonic() - started < 60:
                time.sleep(0.1)
            workers = workers_of(ran.pid)
            yield ran, workers
        finally:
            for process in [*workers.values(), ran.pid] if ran.poll() is None else []:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("by", ["processes", pytest.param("torchrun", marks=SLOW)])
@pytest.mark.parametrize(("what", "rank"), [("SIGINT", 1), pytest.param("SIGINT", 0, marks=SLOW), ("SIGKILL", 1)])
def test_all_processes_end_soon_and_the_lock_is_free(tmp_path, what, rank, by):
    out = tmp_path / "run"
    with fitting(tmp_path, by) as (ran, workers):
        os.kill(workers[rank], getattr(signal, what))
        _, err = ran.communicate(timeout=60)
    assert "/selfdistill/" not in err  # no traceback of ours
    with locked(out):
        pass
    go_on = f"everything so far is saved. Go on with: selfdistill fit --resume {out} --processes 2"
    if what == "SIGINT":
        assert go_on in err
        assert read_json_record(out)["status"] == "interrupted"
    if by == "torchrun":
        assert ran.returncode == 1  # the launcher's word for any failure; what it says of it is its own
        return
    assert ran.returncode == (130 if what == "SIGINT" else 137)
    lines = [line for line in err.splitlines() if not line.startswith(STARTING)]
    assert len(lines) == 1
    assert go_on in lines[0] or lines[0].startswith(
        "error: process 2 of 2 was ended by SIGKILL. Go on with --resume and"
    )


STARTING = ("Reading ", "60 examples", "2 classes", "note: ", "Run directory: ", "epoch ")


@SLOW
def test_a_ctrl_c_in_the_terminal_stops_all_once_and_they_go_on_as_many(tmp_path):
    out = tmp_path / "run"
    with fitting(tmp_path, "processes") as (ran, workers):
        assert {os.getsid(process) for process in workers.values()}.isdisjoint({os.getsid(0)})
        ran.send_signal(signal.SIGINT)  # the terminal reaches no other session
        _, err = ran.communicate(timeout=60)
    assert ran.returncode == 130
    stopped = re.search(r"^stopped in epoch (\d+); everything so far is saved", err, re.MULTILINE)
    assert stopped
    with fitting(tmp_path, "resume") as (ran, _):
        ran.send_signal(signal.SIGINT)
        _, err = ran.communicate(timeout=60)
    assert f"Run directory: {out}, from epoch {stopped[1]}" in err


def test_an_error_that_all_processes_meet_is_said_once(tmp_path):
    command = [sys.executable, "-m", "selfdistill", "fit", str(tmp_path / "none.csv"), "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == done.stderr.splitlines()[-1:]


def test_batch_norm_of_parts_of_batches_is_warned_of():
    runtime = SimpleNamespace(world=2, device=torch.device("cpu"))
    (statistics,) = local_statistics(build("cnn:2", (1, 8, 8), 2, seed=0), runtime)
    assert statistics.startswith("BatchNorm sees one of 2 parts of each batch")
    assert not local_statistics(build("mlp:2", (3,), 2, seed=0), runtime)
    assert not local_statistics(build("cnn:2", (1, 8, 8), 2, seed=0), SimpleNamespace(world=1, device=None))


def test_a_fit_says_what_batch_norm_sees(monkeypatch):
    monkeypatch.setattr(
        "selfdistill.train._fit.local_statistics", lambda network, runtime: [f"seen by {runtime.world}"]
    )
    examples = from_arrays([[0.0], [1.0]] * 4, ["a", "b"] * 4)
    records = []
    fitted = train_fit(examples, train.Settings(network="mlp:2", epochs=1).resolve(8, "cpu"), tell=records.append)
    assert fitted.warnings == ["seen by 1"]
    assert [event.warnings for event in records if isinstance(event, RunStarted)] == [("seen by 1",)]
