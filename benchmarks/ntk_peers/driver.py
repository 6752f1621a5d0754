"""Runs cells in processes of their own, row by row, methods interleaved, and adds a record for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ntk_peers import problems
from benchmarks.ntk_peers.suites import ALL, PYTHONS, SUITES, Row, cell, reason_to_leave
from benchmarks.table import RECORDS, Table

ROOT = Path(__file__).resolve().parents[2]
TABLE = Table(RECORDS / "ntk_peers.parquet")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Place:
    """Where cells run.

    Attributes:
        work: Folder for problems and kernels.
        peers: Folder with the peers' environments; without, they are left out.
        core: Core to which each process is pinned, the same for all; without, none.
        device: ``cpu`` or ``cuda``; the peers with environments of their own run on the CPU only.
        limit: Seconds of wall time for a cell.
    """

    work: Path
    peers: Path | None
    core: int | None
    device: str
    limit: float

    def start(self, cells: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
        """Run cells of one method in one process."""
        own = PYTHONS.get(cells[0]["method"])
        if own and self.peers is None:
            return [], "no environment given"
        python = str(self.peers / own / "bin" / "python") if own and self.peers else sys.executable
        environment = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        placed = [{"core": self.core, "device": self.device, **c} for c in cells]
        command = [python, "-m", "benchmarks.ntk_peers.cell", json.dumps(placed)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self.limit, env=environment, cwd=ROOT
            )
        except subprocess.TimeoutExpired as stopped:
            out = stopped.stdout or b""
            text = out.decode() if isinstance(out, bytes) else out
            return _results(text), f"stopped after {self.limit:.0f} s"
        problem = ""
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            problem = lines[-1][:200] if done.returncode > 0 and lines else f"ended by signal {-done.returncode}"
        return _results(done.stdout), problem


def _results(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def run(suite: str, place: Place, methods: tuple[str, ...] = ALL) -> None:
    """Run a suite: per row and repetition all methods back to back, the order turned each time."""
    place.work.mkdir(parents=True, exist_ok=True)
    for row in SUITES[suite]:
        peak_row = row._replace(n=300, inner=1)
        kernels: dict[str, Path] = {}
        for repetition in range(row.repetitions):
            turned = methods[repetition % len(methods) :] + methods[: repetition % len(methods)]
            for method in ("matmul", *turned):
                if method in row.once and repetition:
                    continue
                record = _measure(peak_row if method == "matmul" else row, method, place, kernels)
                if record.get("left_out") and repetition:
                    continue
                write({"suite": suite, "repetition": repetition, **row._asdict(), **record})
        for path in kernels.values():
            path.unlink(missing_ok=True)


def _measure(row: Row, method: str, place: Place, kernels: dict[str, Path]) -> dict[str, Any]:
    """Measure one method on one row, and compare its kernel's corner with ours."""
    reason = reason_to_leave(row, method)
    if reason or (place.device != "cpu" and method in PYTHONS):
        return {"method": method, "left_out": reason or "runs on the CPU only"}
    problem = problems.stored(place.work, row.network, row.n)
    out = place.work / f"kernel-{row.network}-{row.output}-{row.n}-{method}.npy"
    started = time.perf_counter()
    results, wrong = place.start([cell(row, method, problem=str(problem), out=str(out))])
    record: dict[str, Any] = {"method": method, "process_wall_s": time.perf_counter() - started, "device": place.device}
    if wrong or not results:
        print(f"{row.network} {row.output} {row.n:,} {method}: {wrong or 'no result'}", flush=True)
        return record | {"failed": wrong or "no result"}
    record |= results[0]
    if method != "matmul":
        kernels[method] = out
        reference = "ours" if "ours" in kernels else next(iter(kernels))
        record["difference"] = {"from": reference, "relative": difference(out, kernels[reference])}
    print(
        f"{row.network} {row.output} {row.n:,} {method}: {record['cpu_s']:.3f} cpu-s, "
        f"{record['extra_bytes'] / 2**20:,.0f} MiB, {record.get('difference', {}).get('relative', 0):.1e}",
        flush=True,
    )
    return record


def difference(a: Path, b: Path) -> float:
    """Relative Frobenius difference of two stored kernels."""
    x, y = (np.load(p, allow_pickle=False).astype(np.float64) for p in (a, b))
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def write(record: dict[str, Any]) -> None:
    """Append a record, with the time and the machine."""
    from selfdistill._core.record import environment

    found = environment(record.get("device", "cpu"))
    stamp = {"created": found["created"], "hardware": found["hardware"] | {"threads": 1}}
    TABLE.append([stamp | record])
