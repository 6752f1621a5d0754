"""Two methods in one process, kernel by kernel in turns, so that whatever else the machine does meets both.

    python -m benchmarks.ntk_peers turns                              # transformers: ours beside torch.func
    python -m benchmarks.ntk_peers turns --outputs sum --sizes 64     # some of its kernels, more turns

Each warms up on 64 inputs and computes the kernel once for its memory; then come the timed turns, whose order changes
each time. A turn of a method is a record, its number the repetition; turns measured later are numbered on, so that
nothing measured before is lost.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ntk_peers import driver, problems, report
from benchmarks.ntk_peers.cell import METHODS, Peak
from benchmarks.ntk_peers.suites import SUITES, Row, cell

PAIR = ("ours", "torch.func")
LEAST, SHORT = 5, 15  # turns; of kernels that take less than a second


def run(suite: str, work: Path, outputs: Collection[str] = (), sizes: Collection[int] = ()) -> None:
    """Measure a suite, or its kernels of some outputs and sizes, and append the records."""
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    done = Counter((r["network"], r["output"], r["n"]) for r in report.records() if r["suite"] == suite)
    for row in SUITES[suite]:
        if (outputs and row.output not in outputs) or (sizes and row.n not in sizes):
            continue
        before = done[row.network, row.output, row.n] // len(PAIR)
        for record in measure(row, work, SHORT if (row.output, row.n) == ("sum", 64) else LEAST):
            driver.write({"suite": suite, **row._asdict(), **record, "repetition": before + record["repetition"]})


def measure(row: Row, work: Path, turns: int) -> list[dict[str, Any]]:
    """Measure one row."""
    named, x = problems.read(problems.stored(work, row.network, row.n), "float32")
    kernels: dict[str, Any] = {}
    about: dict[str, dict[str, Any]] = {}
    for method in PAIR:
        module = import_module(f"benchmarks.ntk_peers.{METHODS[method]}")
        options = {**cell(row, method)["options"], "method": method, "device": "cpu"}
        warm, kernels[method] = module.build(row.network, named, x[: row.n], row.output, options)
        warm()
        peak = Peak()
        value = np.asarray(kernels[method](), np.float64)
        about[method] = {**peak.read(), "versions": module.versions(), "value": value}
    ours, other = (about[method].pop("value") for method in PAIR)
    about["torch.func"]["difference"] = {"from": "ours", "relative": _relative(other, ours)}
    records = []
    for turn in range(turns):
        for method in PAIR if turn % 2 else PAIR[::-1]:
            before = time.process_time()
            kernels[method]()
            taken = time.process_time() - before
            records.append({"method": method, "repetition": turn, "cpu_s": taken, **about[method]})
    return records


def _relative(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))
