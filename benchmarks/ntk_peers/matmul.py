"""The machine's matrix-multiply peak, measured like a kernel: two shapes, best of a few."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

SHAPES = ((1000, 20_000, 1000), (1500, 1500, 1500))
_rates: dict[str, float] = {}


def versions() -> dict[str, str]:
    """What ran."""
    return {"torch": str(torch.__version__)}


def build(network: str, named: Any, x: np.ndarray, output: str, options: dict[str, Any]) -> Any:
    """Return what to call before and during the measurement."""
    torch.set_num_threads(1)
    device, dtype = options["device"], torch.float64 if x.dtype == np.float64 else torch.float32

    def once(rows: int, inner: int, columns: int) -> float:
        a = torch.ones(rows, inner, dtype=dtype, device=device)
        b = torch.ones(inner, columns, dtype=dtype, device=device)
        out = a @ b
        best = float("inf")
        for _ in range(3):
            _synchronize(device)
            clock = time.perf_counter if device != "cpu" else time.process_time
            start = clock()
            torch.mm(a, b, out=out)
            _synchronize(device)
            best = min(best, clock() - start)
        return 2.0 * rows * inner * columns / best

    def run() -> np.ndarray:
        for shape in SHAPES:
            _rates["x".join(map(str, shape))] = once(*shape)
        return np.zeros((1, 1))

    return (lambda: once(*SHAPES[-1])), run


def extra() -> dict[str, Any]:
    """FLOP/s by shape."""
    return {"flop_per_s": _rates}


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
