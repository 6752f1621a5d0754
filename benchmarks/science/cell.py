"""One cell, one training, one record. A cell runs in a process of its own, so that its peak of memory means something.

python -m benchmarks.science cell CELL --data DIR      # CELL as JSON; the record comes out as the last line
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.science.data_sets import Prepared, load
from benchmarks.science.records import SCHEMA
from benchmarks.science.suite import Cell
from benchmarks.science.variants import variant
from selfdistill._core.errors import SettingError
from selfdistill._core.events import EpochDone, Event, RunStarted
from selfdistill._core.record import environment
from selfdistill.train import Settings
from selfdistill.train._fit import fit
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._settings import resolve_device

ROOT = Path(__file__).resolve().parents[2]
_KEPT = (
    "loss",
    "agreement",
    "changed_share",
    "refined_share",
    "seconds",
    "test_accuracy",
    "noisy_holdout_accuracy",
    "held_out_accuracy",
)
_PLAIN_EPOCHS = 3  # of cross-entropy, to compare costs with: the first warms up
_DIVERGED = "loss became"  # what the loop says of a loss that is no number


class Curves:
    """Keeps the metrics of each epoch, also of a training that ends in an error."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def __call__(self, event: Event) -> None:
        """Listen; a training that comes first is forgotten when the main one starts."""
        if isinstance(event, RunStarted):
            self.epochs = []
        elif isinstance(event, EpochDone):
            self.epochs.append(event.metrics)

    def columns(self) -> dict[str, list[float | None]]:
        """Turn the epochs into one list per metric, rounded to 7 digits; what is no number becomes ``None``."""
        names = [name for name in _KEPT if self.epochs and name in self.epochs[0]]
        return {name: [_number(epoch[name]) for epoch in self.epochs] for name in names}


def _number(value: float) -> float | None:
    return round(value, 7) if math.isfinite(value) else None


def peak_mib() -> float:
    """Peak of this process's resident memory, in MiB.

    Linux counts it for the program; what ``getrusage`` gives there may be the parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def forget_peak() -> None:
    """Set the peak back to what is held now, where the system can: on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def state_bytes(targets: Any) -> dict[str, int]:
    """Count the bytes of a target's buffers and parameters: all of them, and those with one row per example."""
    tensors = [*targets.buffers(), *targets.parameters()]
    rows = len(targets.refined())
    sizes = [(tensor.numel() * tensor.element_size(), tensor.ndim > 0 and len(tensor) == rows) for tensor in tensors]
    return {"state_bytes": sum(b for b, _ in sizes), "sample_bytes": sum(b for b, by_row in sizes if by_row)}


def settings_of(cell: Cell, prepared: Prepared, scratch: Path) -> Settings:
    """Make the settings of a cell; what it asks the oracle for is taken from the truth."""
    options = dict(cell["settings"])
    if options.get("noise_rate") == "oracle":
        options["noise_rate"] = prepared.rate
    if options.get("noise_matrix") == "oracle":
        options["noise_matrix"] = str(scratch / "matrix.npy")
        np.save(options["noise_matrix"], prepared.matrix.numpy())
    device = resolve_device(cell["device"])
    made = Settings(method=cell["method"], network=cell["network"], seed=cell["seed"], **options)
    return made.resolve(len(prepared.train), device)


def warm_up(prepared: Prepared, settings: Settings) -> None:
    """Take a few steps first, so that what torch loads at its first step counts for nobody."""
    few = slice(0, 64)
    whole = prepared.train
    truth = whole.truth[few] if whole.truth is not None else None
    part = replace(whole, inputs=whole.inputs[few], labels=whole.labels[few], ids=whole.ids[few], truth=truth)
    plain = replace(settings, method="cross-entropy", epochs=1, batch_size=32, noise_rate=None, noise_matrix=None)
    fit(part, plain)


def plain_cost(prepared: Prepared, settings: Settings) -> dict[str, float]:
    """Measure what as many epochs of cross-entropy cost here and now: a few of them, times epochs.

    Machines, and one machine from day to day, differ more than methods do: a cell brings its own measure along.
    """
    ends: list[tuple[float, float]] = []

    def tell(event: Event) -> None:
        if isinstance(event, EpochDone):
            ends.append((time.process_time(), time.perf_counter()))

    plain = replace(settings, method="cross-entropy", epochs=_PLAIN_EPOCHS, noise_rate=None, noise_matrix=None)
    fit(prepared.train, plain, tell=tell)
    cpu, wall = ((ends[-1][i] - ends[0][i]) / (_PLAIN_EPOCHS - 1) * (settings.epochs or 1) for i in range(2))
    return {"plain_cpu_seconds": cpu, "plain_wall_seconds": wall}


def run_cell(cell: Cell, folder: Path) -> dict[str, Any]:
    """Train one cell."""
    torch.set_num_threads(1)
    code = commit()  # before training: what is committed meanwhile is not what runs
    prepared = load(cell, folder)
    curves, fitted, diverged = Curves(), None, None
    with tempfile.TemporaryDirectory() as scratch:
        settings = settings_of(cell, prepared, Path(scratch))
        warm_up(prepared, settings)
        before = peak_mib()
        forget_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            sets = {"test": prepared.test, "noisy_holdout": prepared.holdout}
            method = variant(cell["method"], cell["numbers"]) if "numbers" in cell else None
            fitted = fit(prepared.train, settings, method=method, evaluations=sets, tell=curves)
        except SettingError as error:
            if _DIVERGED not in error.problem:
                raise
            diverged = error.problem
        cost = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
        cost |= {"peak_mib": max(before, peak_mib()), "training_peak_mib": peak_mib()}
    if settings.device.startswith("cuda"):
        cost["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    if fitted is not None:
        cost |= _evaluation_cost(fitted, prepared, len(curves.epochs)) | state_bytes(fitted.targets)
        cost |= plain_cost(prepared, settings)
    stored = settings.as_dict() | ({"noise_matrix": "oracle"} if settings.noise_matrix else {})
    return {
        "schema": SCHEMA,
        "cell": cell,
        "settings": stored,
        "data": _facts(prepared),
        "diverged": diverged,
        "kept_epoch": None if fitted is None else fitted.kept_epoch,
        "returned": None if fitted is None else _accuracy(fitted, prepared),
        "cost": {name: round(value, 4) for name, value in cost.items()},
        "curves": curves.columns(),
        "commit": code,
        **environment(settings.device),
    }


def commit() -> str | None:
    """Name the state of the code."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _facts(prepared: Prepared) -> dict[str, Any]:
    return {
        "examples": len(prepared.train),
        "holdout": len(prepared.holdout[1]),
        "test": len(prepared.test[1]),
        "classes": prepared.train.num_classes,
        "realised_rate": prepared.rate,
    }


def _accuracy(fitted: Fitted, prepared: Prepared) -> float:
    """Measure the network that training returned; early stopping returns an earlier one than the last."""
    runtime = TorchRuntime(fitted.settings.device, fitted.settings.precision)
    predicted = predict_probabilities(fitted.model, prepared.test[0], runtime).argmax(1)
    return round((predicted == prepared.test[1]).double().mean().item(), 7)


def _evaluation_cost(fitted: Fitted, prepared: Prepared, epochs: int) -> dict[str, float]:
    """Measure what looking at test set and hold-out cost, which is no part of the method: once more, times epochs."""
    runtime = TorchRuntime(fitted.settings.device, fitted.settings.precision)
    wall, cpu = time.perf_counter(), time.process_time()
    for inputs, _ in (prepared.test, prepared.holdout):
        predict_probabilities(fitted.model, inputs, runtime)
    spent = {"evaluation_cpu_seconds": time.process_time() - cpu, "evaluation_wall_seconds": time.perf_counter() - wall}
    return {name: value * epochs for name, value in spent.items()}


def in_own_process(cell: Cell, folder: str) -> dict[str, Any]:
    """Run a cell in a fresh process; this is what is spread over processes and machines."""
    command = [sys.executable, "-m", "benchmarks.science", "cell", json.dumps(cell), "--data", folder]
    done = subprocess.run(command, cwd=ROOT, env=_environment(os.environ), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        output = done.stderr.strip().splitlines()
        return {"failed": output[-1] if output else f"its process ended with {done.returncode}"}
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [given.get("PYTHONPATH")])]
    return {**given, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
