"""Robust targets whose state lies in files: memory, disk and time of two epochs, under a limit that the system keeps.

    python -m benchmarks.state_in_files --method memory --n 10000000 --classes 100 --folder DIR

Memory is what the process has for itself: ``RssAnon`` of ``/proc/self/status``, looked at every 20 ms, and the limit
``RLIMIT_DATA`` on what it may ask for, 2 GiB, beyond which an allocation fails. Pages of the files that happen to be in
memory are not counted: the system takes them back at any time. The network is a table of logits, so nearly all of the
time is that of the targets; the order is shuffled. A thousand rows are compared bit for bit with targets in memory of
these examples alone, where each example's state depends on its own predictions only, as in ``"memory"`` and ``"elr"``.
Records go to ``benchmarks/records/state_in_files.parquet``.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import RECORDS, Table
from selfdistill import RobustTargets
from selfdistill._core.record import environment

TABLE = Table(RECORDS / "state_in_files.parquet")
EPOCHS, BATCH, LOGITS = 2, 4096, 997


class Watch(threading.Thread):
    """Keeps the largest of what the system says of this process, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most: dict[str, int] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        while not self.ended.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in {"RssAnon", "RssFile", "VmData"}:
                    self.most[name] = max(self.most.get(name, 0), 1024 * int(value.split()[0]))


def epochs(
    robust: RobustTargets, labels: torch.Tensor, rows: torch.Tensor | None = None, share: float = 1.0
) -> list[dict[str, float]]:
    """Train on the examples ``rows`` of all: logits are those of a table, by example and epoch."""
    k, found = robust.num_classes, []
    drawn = torch.randn(LOGITS, k, generator=torch.Generator().manual_seed(0)).requires_grad_()
    place = None if rows is None else torch.full((len(labels),), -1).index_copy_(0, rows, torch.arange(len(rows)))
    for epoch in range(EPOCHS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
        for index in order[: round(share * len(order))].split(BATCH):
            at = index if place is None else place[index][place[index] >= 0]
            if len(at):
                seen = index if rows is None else rows[at]
                robust.loss(at, drawn[(7 * seen + epoch) % LOGITS])
        found.append(robust.end_epoch())
    return found


def measure(method: str, n: int, k: int, folder: Path, limit: int, share: float) -> dict[str, Any]:
    """Run two epochs and look at what they took."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    watch, began, cpu = Watch(), time.perf_counter(), time.process_time()
    watch.start()
    labels = torch.arange(n) % k
    before = os.statvfs(folder).f_bavail
    robust = RobustTargets(labels, k, method, epochs=EPOCHS, folder=folder)
    disk = (before - os.statvfs(folder).f_bavail) * os.statvfs(folder).f_frsize
    shares = epochs(robust, labels, share=share)
    trained = dict(watch.most)
    print("trained", trained, time.process_time() - cpu, flush=True)
    issues = int(robust.table().is_issue.sum())
    watch.ended.set()
    record = {
        "method": method, "n": n, "classes": k, "epochs": EPOCHS, "share": share,
        "limit": limit, "disk": disk, "peak": watch.most,
        "peak_in_training": trained, "seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu,
        "shares": shares, "issues": issues,
    }  # fmt: skip
    if method in {"memory", "elr"} and share == 1:
        rows = torch.randperm(n, generator=torch.Generator().manual_seed(9))[:1000].sort().values
        alone = RobustTargets(labels[rows], k, method, epochs=EPOCHS)
        epochs(alone, labels, rows)
        record["rows_equal"] = bool(torch.equal(robust.targets.value[rows], alone.targets.value))
    return record


def main() -> None:
    """Measure one method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="memory")
    parser.add_argument("--n", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=2**31, help="bytes")
    parser.add_argument("--share", type=float, default=1.0, help="of the examples that an epoch visits, drawn anew")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = measure(options.method, options.n, options.classes, options.folder, options.limit, options.share)
    about = environment("cpu")
    record |= {name: about[name] for name in ("created", "commit", "versions", "hardware") if name in about}
    TABLE.add({f"{options.method}-{options.n}-{options.classes}": record})
    print({name: value for name, value in record.items() if name not in {"versions", "hardware"}})


if __name__ == "__main__":
    main()
