"""Measurements in a process of their own: ``python -m benchmarks.ntk_peers.cell '[{"method": ..., ...}, ...]'``.

Needs numpy only; the method's module brings its framework. Before the measured call the method warms up (on 64
inputs; jax then compiles for the very shapes), memory is trimmed and the process's peak is reset. Prints one JSON line
for each cell. Where a cell asks for several kernels in a row (``inner``), the times are the median's and all are kept;
memory is that of the first.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ntk_peers import problems

METHODS = {
    "ours": "ours",
    "ours-512MiB": "ours",
    "ours-operator": "ours",
    "ours-fallback": "ours",
    "torch.func": "torch_func",
    "torch.func-tutorial": "torch_func",
    "nngeometry": "torch_nngeometry",
    "neural-tangents": "jax_neural_tangents",
    "matmul": "matmul",
    "spectrum": "spectrum",
}
CORNER = 300  # of each kernel this corner is kept, to compare


def memory(field: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (peak) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


class Peak:
    """Largest resident memory from here on: the kernel's own count, or a 5 ms sampler where that cannot be reset."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.base = memory("VmRSS")
        self.exact = 0 < memory("VmHWM") <= self.base + (4 << 20)
        self.highest, self.stop = self.base, threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        if not self.exact:
            self.thread.start()

    def _sample(self) -> None:
        while not self.stop.wait(0.005):
            self.highest = max(self.highest, memory("VmRSS"))

    def read(self) -> dict[str, Any]:
        """Bytes over the base, the base, and how it was read."""
        self.stop.set()
        top = memory("VmHWM") if self.exact else max(self.highest, memory("VmRSS"))
        return {"extra_bytes": top - self.base, "base_bytes": self.base, "exact_peak": self.exact}


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Run one cell."""
    module = import_module(f"benchmarks.ntk_peers.{METHODS[cell['method']]}")
    named, x = problems.read(Path(cell["problem"]), cell["dtype"])
    options = {**cell.get("options", {}), "method": cell["method"], "device": cell.get("device", "cpu")}
    warm, run = module.build(cell["network"], named, x[: cell["n"]], cell["output"], options)
    started = time.process_time()
    warm()
    warmed = time.process_time() - started
    peak, space = Peak(), {}
    times: list[tuple[float, float]] = []
    for _ in range(cell.get("inner", 1)):
        kernel = None  # the last one's memory goes back first
        before, wall = time.process_time(), time.perf_counter()
        kernel = run()
        times.append((time.process_time() - before, time.perf_counter() - wall))
        space = space or peak.read()
    cpu, clock = sorted(times)[len(times) // 2]
    result: dict[str, Any] = {"cpu_s": cpu, "wall_s": clock, "all_cpu_s": [t for t, _ in times]}
    result |= space | {"warm_cpu_s": warmed, "versions": module.versions()}
    if hasattr(module, "extra"):
        result |= module.extra()
    if cell.get("out"):
        np.save(cell["out"], np.asarray(kernel)[:CORNER, :CORNER], allow_pickle=False)
    return result


def main() -> None:
    """Read the cells from the command line, pin the process, measure, print."""
    cells = json.loads(sys.argv[1])
    if cells[0].get("core") is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cells[0]["core"]})
    for cell in cells:
        print(json.dumps(measure(cell)), flush=True)


if __name__ == "__main__":
    main()
