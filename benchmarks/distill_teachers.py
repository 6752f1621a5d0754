"""Teacher to student with 40 % of the labels flipped: who teaches best, what is best matched, and what it costs.

    python -m benchmarks.distill_teachers digits | cost
    python -m benchmarks.distill_teachers fashion | fashion-pair | fashion-views | fashion-cnn DIR
    python -m benchmarks.distill_teachers digits-development

DIR is a folder of Fashion-MNIST's IDX files; 10,000 of its images are taken, 5,000 for the convolutional networks.
Prints the tables of ``docs/distill.md`` and writes ``benchmarks/records/distill_teachers.json``, each suite under its
name. The oracle teacher is the epoch that is best on the clean test set, which nobody has. The last 10,000 training
images with their true labels, but for those that are trained on, are a development set: objectives are compared there,
under ``development`` in the records, where a default is to be chosen, and not by test accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from selfdistill import noise, runs
from selfdistill._core.events import EpochDone, Event
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import environment, read_record
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read, read_test
from selfdistill.data._source import fingerprint as data_fingerprint
from selfdistill.distill import Distiller, find_teacher, soft_labels
from selfdistill.distill._candidates import WAYS, air_epoch, choose
from selfdistill.distill._objective import OBJECTIVES, objective
from selfdistill.distill._soft_labels import Store
from selfdistill.rivals import Method
from selfdistill.runs._directory import run as runs_run
from selfdistill.targets._base import GivenLabels
from selfdistill.train import Settings
from selfdistill.train._fit import fit as train_fit
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

RECORD = Path(__file__).parent / "records" / "distill_teachers.json"
SEEDS = (0, 1, 2)
MIXINGS = (-0.5, 0.5, 1.5, 3.0)
KERNEL_FREE = ("last", "held-out", "label-wave")
HINTON = {f"hinton T={t} w={w}": {"temperature": t, "weight": w} for t, w in ((1.0, 0.9), (2.0, 0.9), (4.0, 1.0))}
NAMES = ("hinton", "refinery", "noisy-best")
DEFAULTS: dict[str, dict[str, Any]] = {name: {"objective": name} for name in NAMES} | HINTON
"""What might be matched if nothing is said: objectives, and other numbers of hinton."""
SHIFTED = {"augment=crop:2": {}}
"""A student that sees shifted images, whose labels are those of the images as they are."""


@dataclass(frozen=True)
class Suite:
    """What is trained on what, and what is asked of it.

    Attributes:
        student: Specification of the student.
        teacher: Specification of the teacher.
        images: Training images of Fashion-MNIST; 0: digits.
        pair: Whether labels become those of the next class; else of any other.
        epochs: Of teacher and student.
        ways: How epochs are chosen.
        lessons: What is matched, with the teacher by held-out.
        shifted: Lessons with shifted images, matched by ``refinery`` and, by itself, ``hinton``.
        more: Whether mixing and generations are looked at.
        development: Of digits, whether a fifth of the training images is kept for it.
    """

    student: str
    teacher: str = "mlp"
    images: int = 10_000
    pair: bool = False
    epochs: int | None = 20
    ways: tuple[str, ...] = WAYS
    lessons: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    shifted: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    more: bool = False
    development: bool = False


FIVE = {name: {"objective": name} for name in ("hinton", "standardised", "dkd", "top-2-gce", "noisy-best")}
TWO = {name: {"objective": name} for name in ("top-2", "top-2-gce")}
FEW = {name: {"objective": name} for name in (*NAMES, "top-2")}
SUITES = {
    "digits": Suite(
        "mlp:32", images=0, epochs=None, lessons={name: {"objective": name} for name in OBJECTIVES}, more=True
    ),
    "fashion": Suite("mlp:64", lessons=FIVE),
    "fashion-pair": Suite("mlp:64", pair=True, lessons=DEFAULTS | TWO),
    "fashion-views": Suite("mlp:64", ways=KERNEL_FREE, lessons=DEFAULTS, shifted=SHIFTED),
    "fashion-cnn": Suite("cnn:8,16", "cnn", images=5000, epochs=30, ways=KERNEL_FREE, lessons=FEW, shifted=SHIFTED),
    "digits-development": Suite("mlp:32", images=0, epochs=None, ways=KERNEL_FREE, lessons=DEFAULTS, development=True),
}


def accuracies(model: torch.nn.Module, tests: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """Measured once, after the last epoch."""
    runtime = TorchRuntime("cpu")
    return {
        name: (predict_probabilities(model, x, runtime).argmax(-1) == y).float().mean().item()
        for name, (x, y) in tests.items()
    }


def part_of(full: LabelledData, rows: torch.Tensor, given: torch.Tensor, truth: torch.Tensor) -> LabelledData:
    ids = full.ids[rows.numpy()]
    fingerprint = data_fingerprint(full.inputs[rows], given, ids, full.classes)
    return replace(full, inputs=full.inputs[rows], labels=given, ids=ids, truth=truth, fingerprint=fingerprint)


def noisy(suite: Suite, folder: Path | None, seed: int) -> tuple[LabelledData, dict[str, Any]]:
    """Data with 40 % wrong labels, a clean test set, and, but for the digits, a development set."""
    if not suite.images:
        full, tests = runs.noisy_digits(seed)
        if not suite.development:
            return full, tests
        assert full.truth is not None
        rows, kept = torch.arange(len(full) * 4 // 5), slice(len(full) * 4 // 5, None)
        tests |= {"development": (full.inputs[kept], full.truth[kept])}
        return part_of(full, rows, full.labels[rows], full.truth[rows]), tests
    assert folder is not None, "name the folder of Fashion-MNIST"
    full = read(folder, ReadOptions())
    test = read_test(None, full, ReadOptions(), source=folder)
    assert test is not None
    rows = torch.randperm(len(full), generator=torch.Generator().manual_seed(seed))[: suite.images]
    kept = torch.ones(len(full), dtype=torch.bool)
    kept[:-10_000] = False
    kept[rows] = False
    truth = full.labels[rows]
    matrix = noise.pair(10, 0.4) if suite.pair else noise.symmetric(10, 0.4, include_clean=False)
    given = noise.draw(truth, matrix, seed).labels
    return part_of(full, rows, given, truth), {
        "test": test[:2],
        "development": (full.inputs[kept], full.labels[kept]),
    }


def taught_by(run: Path, suite: Suite, examples: LabelledData) -> tuple[dict[str, int], dict[int, Store], list[float]]:
    """Epochs by the way that chooses them, their soft labels, and the teacher's curve."""
    record = read_record(run)
    curve = record.curves["test_accuracy"]
    found = choose(run, record, suite.ways[-1], lambda: air_epoch(record, examples))
    at = {way: found.answers[way]["epoch"] for way in suite.ways} | {"oracle": curve.index(max(curve)) + 1}
    files = {one.epoch: one.path for one in found.candidates}
    stores = {e: soft_labels(find_teacher(files[e], examples), examples, TorchRuntime()) for e in set(at.values())}
    return at, stores, curve


def one_seed(suite: Suite, source: Path | None, seed: int, folder: Path) -> dict[str, Any]:
    examples, tests = noisy(suite, source, seed)

    def taught(teacher: Any, settings: Settings | None = None, **options: Any) -> dict[str, float]:
        settings = settings or Settings(seed=seed, epochs=suite.epochs)
        return accuracies(Distiller(suite.student, settings=settings, **options).fit(teacher, examples).model, tests)

    def teach(teacher: Any, **options: Any) -> float:
        return taught(teacher, **options)["test"]

    plain = Settings(method="cross-entropy", network=suite.teacher, held_out=0.1, keep_epochs="all", seed=seed)
    plain, run = replace(plain, epochs=suite.epochs), folder / f"teacher-{seed}"
    runs_run(examples, plain.resolve(len(examples), "cpu"), run, source={}, evaluations=tests)
    at, stores, curve = taught_by(run, suite, examples)
    alone = replace(plain, network=suite.student, held_out=None, keep_epochs=None).resolve(len(examples), "cpu")
    by_itself = accuracies(train_fit(examples, alone).model, tests)
    students = {e: teach(store, objective="refinery") for e, store in stores.items()}
    best = stores[at["held-out"]]
    lessons = {name: taught(best, **options) for name, options in suite.lessons.items()}
    out: dict[str, Any] = {
        "seed": seed,
        "epochs": at,
        "teacher": {way: curve[e - 1] for way, e in at.items()},
        "alone": by_itself["test"],
        "student": {way: students[e] for way, e in at.items()},
        "objective": {name: one["test"] for name, one in lessons.items()},
        "noisy_best_of_last": teach(stores[at["last"]], objective="noisy-best"),
    }
    if "development" in tests:
        out["development"] = {name: one["development"] for name, one in ({"alone": by_itself} | lessons).items()}
    if suite.shifted:
        out["shifted"] = shifted(taught, suite, seed, run / "epochs" / f"epoch-{at['held-out']:04d}.safetensors")
    if suite.more:
        out["mixing"] = {str(x): teach(best, objective="born-again", mixing=x) for x in MIXINGS}
        out["generations"] = {str(g): teach(best, objective="born-again", generations=g) for g in (2, 3)}
    return out


def shifted(taught: Callable[..., Any], suite: Suite, seed: int, teacher: Path) -> dict[str, float]:
    """Students that see shifted images; the teacher is asked again, for it labels what they see."""
    settings = Settings(seed=seed, epochs=suite.epochs, augment="crop:2")
    return {
        f"{name} {what}": taught(teacher, settings, objective=name, **options)["test"]
        for name in ("refinery", "hinton")
        for what, options in suite.shifted.items()
    }


def live(network: Any, reading: Any, loss: Any) -> Method:
    """Ask the teacher in each step, as is usual."""

    def match(forward: Any, batch: Any, view: Any, target: Any, loss: Any) -> Any:
        inputs = view(0)
        with torch.no_grad():
            taught = network(inputs)
        logits = forward(inputs)
        return loss(logits, reading(target.read(batch.index), taught)), logits

    return Method(lambda c: GivenLabels(c.labels, c.num_classes), loss, "live", objective=match)


def epoch_seconds(fit: Callable[[Callable[[Event], None]], Any]) -> float:
    """Processor seconds of an epoch, the median of all but the first: other programs on the machine do not count."""
    ends: list[float] = []
    fit(lambda event: ends.append(time.process_time()) if isinstance(event, EpochDone) else None)
    return statistics.median(b - a for a, b in pairwise(ends))


def cost() -> dict[str, Any]:
    """An epoch of plain training, from the store and beside a live teacher; medians of interleaved ratios."""
    digits, _ = runs.noisy_digits(0)
    teacher = train_fit(digits, Settings(method="cross-entropy", epochs=2).resolve(len(digits), "cpu")).model
    started = time.process_time()
    store = soft_labels(find_teacher(teacher, digits), digits, TorchRuntime())
    found: dict[str, Any] = {
        "labelling_seconds": time.process_time() - started,
        "bytes": store.soft.describe()["bytes"],
    }
    for student, name in (("mlp:32", "hinton"), ("mlp:32", "refinery"), ("mlp:512,512", "hinton")):
        settings = Settings(network=student, method="cross-entropy", epochs=9).resolve(len(digits), "cpu")
        reading, loss, _ = objective(name)
        distiller = Distiller(student, objective=name, settings=Settings(epochs=9))
        beside = live(teacher, reading, loss)
        ways = {
            "plain": lambda tell, settings=settings: train_fit(digits, settings, tell=tell),
            "store": lambda tell, distiller=distiller: distiller.fit(store, digits, tell=tell),
            "live": lambda tell, settings=settings, beside=beside: train_fit(
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


def table(suite: Suite, runs: list[dict[str, Any]]) -> None:
    line("student alone", [run["alone"] for run in runs])
    for way in (*suite.ways, "oracle"):
        taught = [run["student"][way] for run in runs]
        mean, spread = statistics.mean(taught), statistics.stdev(taught)
        epochs = ", ".join(str(run["epochs"][way]) for run in runs)
        line(way, [run["teacher"][way] for run in runs], f"{100 * mean:.1f} ± {100 * spread:.1f}", epochs)
    line("noisy-best of the last teacher", [run["noisy_best_of_last"] for run in runs])
    for part in ("objective", "development", "shifted", "mixing", "generations"):
        for name in runs[0].get(part, ()):
            line(f"{part} {name}", [run[part][name] for run in runs])


def measured(name: str, folder: Path | None) -> dict[str, Any]:
    suite, runs = SUITES[name], []
    with tempfile.TemporaryDirectory() as place:
        for seed in SEEDS:
            runs.append(one_seed(suite, folder, seed, Path(place)))
            print(json.dumps(runs[-1]), flush=True)
    table(suite, runs)
    return {"student": suite.student, "teacher": suite.teacher, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "cost"])
    parser.add_argument("folder", nargs="?", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    found = environment("cpu") | (cost() if asked.suite == "cost" else measured(asked.suite, asked.folder))
    found["cpu_seconds"] = round(time.process_time() - started)
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    RECORD.write_text(json.dumps(records | {asked.suite: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
