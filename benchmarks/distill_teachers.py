"""Teacher to student with 40 % of the labels flipped: who teaches best, what is best matched, and what it costs.

    python -m benchmarks.distill_teachers digits
    python -m benchmarks.distill_teachers fashion DIR
    python -m benchmarks.distill_teachers cost

DIR is a folder of Fashion-MNIST's IDX files; 10,000 of its images are taken. Prints the tables of ``docs/distill.md``
and writes ``benchmarks/records/distill_teachers.json``, each suite under its name. The oracle teacher is the epoch that
is best on the clean test set, which nobody has.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from selfdistill import data, noise, train
from selfdistill._core.events import EpochDone, Event
from selfdistill._core.record import environment, read_record
from selfdistill.distill import OBJECTIVES, Distiller, air_epoch, choose, find_teacher, objective, soft_labels
from selfdistill.targets import Given
from selfdistill.train import Method, Settings

RECORD = Path(__file__).parent / "records" / "distill_teachers.json"
SEEDS = (0, 1, 2)
SUITES = {  # the student, epochs of teacher and student, objectives, and whether mixing and generations are looked at
    "digits": ("mlp:32", None, tuple(OBJECTIVES), True),
    "fashion": ("mlp:64", 20, ("hinton", "top-2-gce", "noisy-best"), False),
}
WAYS = ("last", "held-out", "label-wave", "air")
MIXINGS = (-0.5, 0.5, 1.5, 3.0)


def last(fitted: Any) -> float:
    return fitted.curves[-1]["test_accuracy"]


def noisy(suite: str, folder: Path | None, seed: int) -> Any:
    """Data with 40 % wrong labels, and a clean test set."""
    if suite == "digits" or folder is None:
        return train.noisy_digits(seed)
    full = data.read(folder, data.ReadOptions())
    test = data.read_test(None, full, data.ReadOptions(), source=folder)
    assert test is not None
    rows = torch.randperm(len(full), generator=torch.Generator().manual_seed(seed))[:10_000]
    truth, ids = full.labels[rows], full.ids[rows.numpy()]
    given = noise.draw(truth, noise.symmetric(10, 0.4, include_clean=False), seed).labels
    fingerprint = data.fingerprint(full.inputs[rows], given, ids, full.classes)
    images = replace(full, inputs=full.inputs[rows], labels=given, ids=ids, truth=truth, fingerprint=fingerprint)
    return images, {"test": test[:2]}


def one_seed(suite: str, source: Path | None, seed: int, folder: Path) -> dict[str, Any]:
    student, epochs, objectives, more = SUITES[suite]
    digits, tests = noisy(suite, source, seed)

    def teach(teacher: Any, **said: Any) -> float:
        settings = Settings(seed=seed, epochs=epochs)
        return last(Distiller(student, settings=settings, **said).fit(teacher, digits, evaluations=tests))

    plain = Settings(method="cross-entropy", network="mlp", held_out=0.1, keep_epochs="all", seed=seed, epochs=epochs)
    run = folder / f"teacher-{seed}"
    train.run(digits, plain.resolve(len(digits), "cpu"), run, source={}, evaluations=tests)
    record = read_record(run)
    curve = record["curves"]["test_accuracy"]
    found = choose(run, record, "air", lambda: air_epoch(record, digits))
    at = {way: found.said[way]["epoch"] for way in WAYS} | {"oracle": curve.index(max(curve)) + 1}
    files = {one.epoch: one.path for one in found.candidates}
    stores = {e: soft_labels(find_teacher(files[e], digits), digits, train.TorchRuntime()) for e in set(at.values())}
    alone = replace(plain, network=student, held_out=None, keep_epochs=None).resolve(len(digits), "cpu")
    taught = {e: teach(store, objective="refinery") for e, store in stores.items()}
    best = stores[at["held-out"]]
    out: dict[str, Any] = {
        "seed": seed,
        "epochs": at,
        "teacher": {way: curve[e - 1] for way, e in at.items()},
        "alone": last(train.fit(digits, alone, evaluations=tests)),
        "student": {way: taught[e] for way, e in at.items()},
        "objective": {name: teach(best, objective=name) for name in objectives},
        "noisy_best_of_last": teach(stores[at["last"]], objective="noisy-best"),
    }
    if more:
        out["mixing"] = {str(x): teach(best, objective="born-again", mixing=x) for x in MIXINGS}
        out["generations"] = {str(g): teach(best, objective="born-again", generations=g) for g in (2, 3)}
    return out


def live(network: Any, reading: Any, loss: Any) -> Method:
    """Ask the teacher in each step, as is usual."""

    def match(forward: Any, batch: Any, view: Any, target: Any, loss: Any) -> Any:
        inputs = view(0)
        with torch.no_grad():
            taught = network(inputs)
        logits = forward(inputs)
        return loss(logits, reading(target.read(batch.index), taught)), logits

    return Method(lambda c: Given(c.labels, c.num_classes), loss, "live", objective=match)


def epoch_seconds(fit: Callable[[Callable[[Event], None]], Any]) -> float:
    """Processor seconds of an epoch, the median of all but the first: other programs on the machine do not count."""
    ends: list[float] = []
    fit(lambda event: ends.append(time.process_time()) if isinstance(event, EpochDone) else None)
    return statistics.median(b - a for a, b in pairwise(ends))


def cost() -> dict[str, Any]:
    """An epoch of plain training, from the store and beside a live teacher; medians of interleaved ratios."""
    digits, _ = train.noisy_digits(0)
    teacher = train.fit(digits, Settings(method="cross-entropy", epochs=2).resolve(len(digits), "cpu")).model
    begun = time.process_time()
    store = soft_labels(find_teacher(teacher, digits), digits, train.TorchRuntime())
    found: dict[str, Any] = {"labelling_seconds": time.process_time() - begun, "bytes": store.soft.describe()["bytes"]}
    for student, name in (("mlp:32", "hinton"), ("mlp:32", "refinery"), ("mlp:512,512", "hinton")):
        settings = Settings(network=student, method="cross-entropy", epochs=9).resolve(len(digits), "cpu")
        reading, loss, _ = objective(name)
        distiller = Distiller(student, objective=name, settings=Settings(epochs=9))
        beside = live(teacher, reading, loss)
        ways = {
            "plain": lambda tell, settings=settings: train.fit(digits, settings, tell=tell),
            "store": lambda tell, distiller=distiller: distiller.fit(store, digits, tell=tell),
            "live": lambda tell, settings=settings, beside=beside: train.fit(
                digits, settings, method=beside, tell=tell
            ),
        }
        rounds = [{way: epoch_seconds(fit) for way, fit in ways.items()} for _ in range(9)]
        over = {way: statistics.median(r[way] / r["plain"] for r in rounds) for way in ("store", "live")}
        found[f"{student} {name}"] = over | {"rounds": rounds}
        print(student, name, over, flush=True)
    return found


def line(name: str, values: list[float], *more: str) -> None:
    spread = f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"
    print("| " + " | ".join([name, spread, *more]) + " |")


def table(runs: list[dict[str, Any]]) -> None:
    line("student alone", [run["alone"] for run in runs])
    for way in (*WAYS, "oracle"):
        taught = [run["student"][way] for run in runs]
        mean, spread = statistics.mean(taught), statistics.stdev(taught)
        epochs = ", ".join(str(run["epochs"][way]) for run in runs)
        line(way, [run["teacher"][way] for run in runs], f"{100 * mean:.1f} ± {100 * spread:.1f}", epochs)
    line("noisy-best of the last teacher", [run["noisy_best_of_last"] for run in runs])
    for part in ("objective", "mixing", "generations"):
        for name in runs[0].get(part, ()):
            line(f"{part} {name}", [run[part][name] for run in runs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "cost"])
    parser.add_argument("folder", nargs="?", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = environment("cpu")
    if asked.suite == "cost":
        found |= cost()
    else:
        with tempfile.TemporaryDirectory() as folder:
            runs = []
            for seed in SEEDS:
                runs.append(one_seed(asked.suite, asked.folder, seed, Path(folder)))
                print(json.dumps(runs[-1]), flush=True)
        table(runs)
        found |= {"student": SUITES[asked.suite][0], "runs": runs}
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    RECORD.write_text(json.dumps(records | {asked.suite: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
