"""Memory and time of the room `issues`, from soft labels in each store.

    python -m benchmarks.issues_memory         # records: benchmarks/records/issues_memory.parquet

Each cell runs in a process of its own: soft labels are made and stored, then the findings are made once with Python's
own count of memory on (``traced``, bytes beyond the soft labels) and once without (``seconds``). ``resident`` is the
process's peak over what it held before the findings; pages of a memory map count there, and the system may drop them.
"""

from __future__ import annotations

import resource
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.table import RECORDS, Table

CELLS = (
    ("float32", 50_000, 10),
    ("float32", 100_000, 10),
    ("memory map", 500_000, 100),
    ("memory map", 1_000_000, 100),
    ("top-5", 500_000, 1000),
    ("top-5", 1_000_000, 1000),
)


def fill(kind: str, n: int, k: int, folder: Path) -> tuple[Any, Any]:
    """Make labels, and soft labels that are sure of three in ten others."""
    import torch

    from selfdistill.targets._stores import Dense, Mapped, TopK

    g = torch.Generator().manual_seed(0)
    labels = torch.randint(0, k, (n,), generator=g)
    if kind == "memory map":
        store: Any = Mapped(folder / "soft.npy", n, k)
    else:
        store = TopK(labels, k) if kind == "top-5" else Dense(n, k)
    for start in range(0, n, 5000):
        rows = slice(start, min(start + 5000, n))
        given = labels[rows]
        wrong = torch.rand(len(given), generator=g) < 0.3
        truth = torch.where(wrong, torch.randint(0, k, (len(given),), generator=g), given)
        logits = torch.randn(len(given), k, generator=g)
        logits[torch.arange(len(given)), truth] += 8
        store.write(rows, logits.softmax(-1))
    return labels, store


def cell(kind: str, n: int, k: int) -> dict[str, Any]:
    """Measure one cell, in this process."""
    import torch

    from selfdistill._core.record import environment
    from selfdistill.issues import find_issues
    from selfdistill.issues._blocks import BLOCK_BYTES

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        labels, store = fill(kind, n, k, Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        found = find_issues(labels, store)
        seconds = time.perf_counter() - started
        resident = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        expected = found.noise.wrong
        del found
        tracemalloc.start()
        found = find_issues(labels, store)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return {
        "kind": kind,
        "examples": n,
        "classes": k,
        "store_bytes": store.describe()["bytes"],
        "block_bytes": BLOCK_BYTES,
        "seconds": round(seconds, 2),
        "traced_peak": peak,
        "traced_kept": kept,
        "resident": resident,
        "expected_wrong": round(expected),
        "flagged": int(found.is_issue.sum()),
        "environment": environment("cpu"),
    }


def main() -> None:
    """Run the cells that have no record yet."""
    todo = {f"{kind}, {n}, {k}": {"kind": kind, "n": n, "k": k} for kind, n, k in CELLS}

    def line(found: dict[str, Any]) -> str:
        size, peak = found["store_bytes"] / 2**20, found["traced_peak"] / 2**20
        return f"store {size:,.0f} MiB, beside it {peak:,.0f} MiB, {found['seconds']} s"

    table = Table(RECORDS / "issues_memory.parquet")
    drive.run(table, todo, lambda one: drive.in_own_process(cell, *one.values()), line=line)


if __name__ == "__main__":
    main()
