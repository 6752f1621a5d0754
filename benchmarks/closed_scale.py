"""Time and memory of the closed form as rows, landmarks and classes grow, from a memory map on disk.

    python -m benchmarks.closed_scale run [--folder DIR] [--threads 2]
    python -m benchmarks.closed_scale growth [--folder DIR]
    python -m benchmarks.closed_scale report

``run`` measures large cells; ``growth`` small ones with one thread, in which one size at a time grows, and their FLOPs
(those of `benchmarks.closed_speed`), counted when time and memory are known; no forest is tried. Each cell writes
float16 features with classes of three clusters each and 40 % of the labels wrong into a file, and refines the labels in
a process of its own. ``resident`` is the peak of that process (``ru_maxrss``): pages of the map that were read count
there, and the system may drop them; ``own`` is the peak without them, sampled, in ``growth`` less what the libraries
took before.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import drive
from benchmarks.table import RECORDS, Table

TABLE, GROWTH_TABLE = Table(RECORDS / "closed_scale.parquet"), Table(RECORDS / "closed_growth.parquet")
SIZES = {"n": "rows", "d": "columns", "landmarks": "landmarks", "k": "classes"}
CELLS = (  # sizes in this order
    (100_000, 768, 1500, 100),
    (200_000, 768, 1500, 100),
    (200_000, 768, 750, 100),
    (200_000, 768, 3000, 100),
    (1_000_000, 768, 1500, 100),
    (100_000, 768, 1500, 10),
    (100_000, 768, 1500, 400),
    (100_000, 192, 1500, 100),
)
BASE = (40_000, 256, 1000, 20)
GROWTH = (
    *((n, *BASE[1:]) for n in (20_000, 40_000, 80_000, 160_000)),
    *((*BASE[:1], d, *BASE[2:]) for d in (512, 1024)),
    *((*BASE[:2], m, *BASE[3:]) for m in (500, 2000)),
    *((*BASE[:3], k) for k in (5, 80, 320)),
)


def blocks(n: int, d: int, k: int, seed: int = 0) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Make rows, true labels and given ones, 10,000 at a time."""
    rng = np.random.default_rng(seed)
    centres = 0.2 * rng.normal(size=(3 * k, d)).astype(np.float32)
    scale = np.exp(0.5 * rng.normal(size=d)).astype(np.float32)
    for start in range(0, n, 10_000):
        size = min(10_000, n - start)
        truth = rng.integers(k, size=size)
        inputs = centres[3 * truth + rng.integers(3, size=size)] + rng.standard_normal((size, d), np.float32)
        given = np.where(rng.random(size) < 0.4, (truth + rng.integers(1, k, size=size)) % k, truth)
        yield slice(start, start + size), (inputs * scale).astype(np.float16), truth, given


def write(folder: Path, n: int, d: int, k: int) -> None:
    """Write the files of a cell."""
    inputs = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float16, (n, d))
    labels = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int64, (2, n))
    for rows, some, truth, given in blocks(n, d, k):
        inputs[rows], labels[0, rows], labels[1, rows] = some, truth, given
    inputs.flush()
    labels.flush()


def cell(folder: Path, landmarks: int, k: int, options: argparse.Namespace) -> dict[str, Any]:
    """Refine the labels of a folder, in this process."""
    import torch

    from benchmarks.closed_speed import counted
    from selfdistill._core.record import environment
    from selfdistill.closed import refine_labels

    torch.set_num_threads(options.threads)
    inputs, (truth, given) = np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy")
    before = _own()
    peak, done = [before], threading.Event()
    threading.Thread(target=_sample, args=(peak, done), daemon=True).start()
    steps: list[tuple[str, float]] = []
    wall, cpu = time.perf_counter(), time.process_time()
    asked = {"landmarks": landmarks, "rounds": options.rounds, "dtype": getattr(torch, options.dtype), "forest": False}
    found = refine_labels(inputs, given, k, tell=lambda text: steps.append((text, time.perf_counter() - wall)), **asked)
    spent = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    done.set()
    spent["resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    flops: dict[str, float] = {}
    if options.what == "growth":
        with counted(flops):
            refine_labels(inputs, given, k, **asked)
    wrong = given != truth
    best = found.choice.best
    return {
        **spent,
        "flops": flops,
        "own_mib": peak[0] / 2**20,
        "before_mib": before / 2**20,
        "threads": torch.get_num_threads(),
        "dtype": options.dtype,
        "kernel": found.kernel,
        "round": best.round,
        "form": best.form.name,
        "chains": len(found.choice.chains),
        "given_right": 1 - float(wrong.mean()),
        "refined_right": float((found.posterior.argmax(1).numpy() == truth).mean()),
        "counted": float(1 - found.posterior[np.arange(len(given)), given].mean()) / float(wrong.mean()),
        "steps": [(text, round(at, 2)) for text, at in steps if not text.startswith("round")],
        **{name: environment("cpu")[name] for name in ("versions", "hardware")},
    }


def _sample(peak: list[int], done: threading.Event) -> None:
    """Note the largest memory of the process that no file stands behind."""
    while not done.wait(0.05):
        peak[0] = max(peak[0], _own())


def _own() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 2**10 for line in lines if line.startswith("RssAnon"))


def run(options: argparse.Namespace) -> None:
    """Measure the cells that have no record yet."""
    table, cells = (GROWTH_TABLE, GROWTH) if options.what == "growth" else (TABLE, CELLS)
    options.threads = 1 if options.what == "growth" else options.threads
    todo = {", ".join(map(str, one)): dict(zip(SIZES, one, strict=True)) for one in cells if one[0] <= options.most}

    def work(one: drive.Cell) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            write(Path(folder), one["n"], one["d"], one["k"])
            return one | drive.in_own_process(cell, Path(folder), one["landmarks"], one["k"], options)

    drive.run(table, todo, work)


def report(options: argparse.Namespace) -> None:
    """Print the records as tables."""
    print("| rows | columns | landmarks | classes | wall s | CPU s | resident GiB | own GiB | right: given, refined |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in TABLE.read().values():
        print(
            f"| {r['n']:,} | {r['d']} | {r['landmarks']:,} | {r['k']} | {r['wall_s']:.0f} | {r['cpu_s']:.0f} | "
            f"{r['resident_mib'] / 1024:.2f} | {r['own_mib'] / 1024:.2f} | "
            f"{100 * r['given_right']:.1f}, {100 * r['refined_right']:.1f} |"
        )
    found = GROWTH_TABLE.read().values()
    growth = [r | {"flops": sum(r["flops"].values()), "mib": r["own_mib"] - r["before_mib"]} for r in found]
    print("\n| rows | columns | landmarks | classes | CPU s | TFLOP | GFLOP/s | own MiB | right: given, refined |")
    print("|---|---|---|---|---|---|---|---|---|")
    for r in growth:
        print(
            f"| {r['n']:,} | {r['d']} | {r['landmarks']:,} | {r['k']} | {r['cpu_s']:.1f} | {r['flops'] / 1e12:.2f} | "
            f"{r['flops'] / r['cpu_s'] / 1e9:.0f} | {r['mib']:.0f} | "
            f"{100 * r['given_right']:.1f}, {100 * r['refined_right']:.1f} |"
        )
    print("\n| growing | from, to | CPU s | FLOPs | own memory |")
    print("|---|---|---|---|---|")
    for size, name in SIZES.items():
        values = sorted({r[size] for r in growth})
        powers = [exponent(growth, size, of) for of in ("cpu_s", "flops", "mib")]
        print(f"| {name} | {values[0]:,}, {values[-1]:,} | {' | '.join(f'{power:.2f}' for power in powers)} |")


def exponent(records: list[dict[str, Any]], size: str, of: str) -> float:
    """Fit a power of one size, by least squares of logarithms, to records in which the other sizes are the base's."""
    base = dict(zip(SIZES, BASE, strict=True))
    some = [r for r in records if all(r[other] == base[other] for other in SIZES if other != size)]
    return float(np.polyfit(np.log([r[size] for r in some]), np.log([r[of] for r in some]), 1)[0])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "growth", "report"])
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--most", type=int, default=10**9, help="rows of the largest cell")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    (report if options.what == "report" else run)(options)


if __name__ == "__main__":
    main()
