"""One measurement in a process of its own: ``python -m benchmarks.ntk_peers.cell '{"method": ..., ...}'``.

Needs numpy only; the method's module brings its framework. Before the measured call the method warms up (torch on a few
inputs, jax by compiling for the very shapes), memory is trimmed and the process's peak is reset. Prints one JSON line.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
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
    "ours-operator": "ours",
    "ours-fallback": "ours",
    "torch.func": "torch_func",
    "torch.func-tutorial": "torch_func",
    "nngeometry": "torch_nngeometry",
    "neural-tangents": "jax_neural_tangents",
    "matmul": "matmul",
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
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass
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
    begun = time.process_time()
    warm()
    warmed = time.process_time() - begun
    peak = Peak()
    before, wall = time.process_time(), time.perf_counter()
    kernel = run()
    result: dict[str, Any] = {"cpu_s": time.process_time() - before, "wall_s": time.perf_counter() - wall}
    result |= peak.read() | {"warm_cpu_s": warmed, "versions": module.versions()}
    if hasattr(module, "extra"):
        result |= module.extra()
    if cell.get("out"):
        np.save(cell["out"], kernel[:CORNER, :CORNER], allow_pickle=False)
    return result


def main() -> None:
    """Read the cell from the command line, pin the process, measure, print."""
    cell = json.loads(sys.argv[1])
    if cell.get("core") is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cell["core"]})
    if cell.get("address_space"):
        resource.setrlimit(resource.RLIMIT_AS, (cell["address_space"],) * 2)
    print(json.dumps(measure(cell)))


if __name__ == "__main__":
    main()
