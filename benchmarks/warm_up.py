"""What lengthens with a run: the learning rate's warm-up as a share of the steps, or counted in visits to an example.

    python -m benchmarks.warm_up run DATA [--parts PATTERN] [--budget MINUTES]
    python -m benchmarks.warm_up report

DATA holds ``features/``, ``tabular/`` and ``text/``. Each method is trained for the usual epochs and for ten times as
many, with the warm-up as a share (1.5 epochs become 15) and in visits (1.5 epochs stay), and in visits with ten times
the weight decay. Development rows only. Records: one line a training in ``benchmarks/records/warm_up.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.features import data_sets, noise
from benchmarks.features.cache import as_arrays
from selfdistill import networks, train
from selfdistill._core.record import environment
from selfdistill.data import LabelledData, from_arrays

RECORD = Path(__file__).parent / "records" / "warm_up.jsonl"
SEEDS = (0, 1, 2)
METHODS = ("selfdistill", "cross-entropy", "dong-sequential")
DECAY = 5e-4  # the default
LENGTHS = 10  # of the long runs, in usual epochs


class Part(NamedTuple):
    """What is trained on."""

    data: str
    noise: str
    network: str


PARTS = {
    "digits-40": Part("digits", "symmetric-40", "mlp:256,256"),
    "music": Part("music", "crowd", "mlp:128"),
    "semeval": Part("semeval", "rules", "mlp:128"),
}
VARIANTS = {
    "usual length": (False, "share", DECAY),
    "usual length, weight decay 5e-3": (False, "share", 10 * DECAY),
    "long, share": (True, "share", DECAY),
    "long, visits": (True, "visits", DECAY),
    "long, visits, weight decay 5e-3": (True, "visits", 10 * DECAY),
}


def rise(lengths: float, kind: str) -> float:
    """Share of the steps in which the learning rate rises."""
    return 0.05 / lengths if kind == "visits" else 0.05


def draw(part: Part, seed: int, folder: Path) -> tuple[LabelledData, tuple[Tensor, Tensor]]:
    """Draw the labels; the development part of a data set, all its rows."""
    whole = data_sets.read(part.data, "development", folder, folder / "cache")
    x, x_test = as_arrays(whole.train, whole.test)
    made = from_arrays(x, noise.draw(whole, part.noise, seed), truth=whole.truth)
    assert made.num_classes == whole.num_classes
    return made, (made.preprocess.apply(x_test), torch.from_numpy(whole.test_truth))


def measure(part: Part, method: str, variant: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train once."""
    begun = time.process_time()
    data, test = draw(part, seed, folder)
    long, kind, decay = VARIANTS[variant]
    usual = train.Settings().resolve(len(data), "cpu").epochs or 1
    lengths = LENGTHS if long else 1
    settings = train.Settings(
        method=method,
        network=part.network,
        epochs=usual * lengths,
        lr_warmup=rise(lengths, kind),
        weight_decay=decay,
        seed=seed,
        augment="none",
    ).resolve(len(data), "cpu")
    shape, stats = tuple(data.inputs.shape[1:]), data.preprocess.stats
    model = networks.build(part.network, shape, data.num_classes, seed=seed, stats=stats)
    fitted = train.fit(data, settings, model=model, evaluations={"test": test})
    curve = [epoch["test_accuracy"] for epoch in fitted.curves]
    guess = train.predict_probabilities(fitted.model, data.inputs, train.TorchRuntime("cpu", "fp32")).argmax(1)
    assert data.truth is not None
    wrong, refined = data.labels != data.truth, fitted.targets.refined().argmax(-1)
    return {
        "epochs": settings.epochs,
        "lr_warmup": settings.lr_warmup,
        "last": round(curve[-1], 4),
        "best": round(max(curve), 4),
        "wrong fitted": round(float((guess == data.labels)[wrong].double().mean()), 4),
        "refined right": round(float((refined == data.truth).double().mean()), 4),
        "cpu_seconds": round(time.process_time() - begun, 2),
    }


def read(record: Path = RECORD) -> list[dict[str, Any]]:
    """Read the records."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    return [json.loads(line) for line in lines]


def cells(pattern: str) -> Iterator[dict[str, Any]]:
    """Name every training of the chosen parts."""
    for name in PARTS:
        for seed in SEEDS if fnmatch(name, pattern) else ():
            for method in METHODS:
                for variant in VARIANTS:
                    yield {"part": name, "method": method, "variant": variant, "seed": seed}


def run(folder: Path, pattern: str, budget: float, record: Path) -> None:
    """Measure what has no record yet."""
    names, deadline = ("part", "method", "variant", "seed"), time.monotonic() + 60 * budget
    done = {tuple(r[name] for name in names) for r in read(record)}
    for cell in cells(pattern):
        if tuple(cell.values()) in done or time.monotonic() > deadline:
            continue
        found = measure(PARTS[cell["part"]], cell["method"], cell["variant"], cell["seed"], folder)
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"schema": 1} | cell | found | environment("cpu")) + "\n")
        print(*cell.values(), found["last"], found["wrong fitted"], found["cpu_seconds"], file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Tell test accuracy at the last epoch and, in brackets, the share of wrong labels fitted, in per cent."""
    lines = [f"| data, method | {' | '.join(VARIANTS)} |", "|---" * (1 + len(VARIANTS)) + "|"]
    for name in PARTS:
        for method in METHODS:
            mine = [r for r in rows if r["part"] == name and r["method"] == method]
            texts = [_cell([r for r in mine if r["variant"] == variant]) for variant in VARIANTS]
            if mine:
                lines.append(f"| {name}, {method} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "–"
    last = [100 * r["last"] for r in rows]
    spread = f" ± {stdev(last):.1f}" if len(last) > 1 else ""
    return f"{mean(last):.1f}{spread} ({100 * mean(r['wrong fitted'] for r in rows):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "report"))
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--parts", default="*")
    parser.add_argument("--budget", type=float, default=math.inf)
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.do == "run":
        run(args.data, args.parts, args.budget, args.record)
    else:
        print(table(read(args.record)))


if __name__ == "__main__":
    main()
