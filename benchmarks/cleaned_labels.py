"""Does cleaning the labels help any other model?

On tables with drawn errors: logistic regression and boosting on given labels, on cleaned ones, and inside cleanlab's
``CleanLearning``.

    python -m benchmarks.cleaned_labels run --data DIR --cache DIR [--seeds 0 1 2]
    python -m benchmarks.cleaned_labels report > benchmarks/reports/cleaned-labels.md

Records: ``benchmarks/records/cleaned_labels.parquet``, a row for each table, noise and seed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks import drive
from benchmarks.command import run_or_report
from benchmarks.features import cache, noise
from benchmarks.table import RECORDS, Table
from selfdistill import SelfDistillClassifier
from selfdistill._core.record import environment

TABLE = Table(RECORDS / "cleaned_labels.parquet")
TABLES = ("breast-cancer", "vowel", "satimage", "spambase", "chess", "crx", "diamonds")
NOISES = ("symmetric-0", "symmetric-5", "symmetric-20", "symmetric-40", "weak")
WAYS = ("given", "pruned", "relabelled", "weighted", "CleanLearning", "own classifier")
MODELS: dict[str, Callable[[int], Any]] = {
    "logistic regression": lambda seed: LogisticRegression(max_iter=1000, random_state=seed),
    "boosting": lambda seed: HistGradientBoostingClassifier(max_iter=60, random_state=seed),
}


def scores(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, truth: np.ndarray, seed: int) -> Iterator[dict[str, Any]]:
    """Measure every way of cleaning with every model."""
    started = time.process_time()
    clf = SelfDistillClassifier().fit(X, y)
    cleaning = time.process_time() - started
    keep = ~clf.get_label_issues()["is_label_issue"].to_numpy()
    if len(np.unique(y[keep])) < len(np.unique(y)):  # a class must not vanish
        keep = np.ones(len(y), bool)
    yield {
        "model": "own classifier",
        "way": "own classifier",
        "accuracy": clf.score(X_test, truth),
        "seconds": cleaning,
    }
    quality = np.asarray(clf.label_quality_)
    parts: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {
        "given": (X, y, None),
        "pruned": (X[keep], y[keep], None),
        "relabelled": (X, np.where(keep, y, clf.refined_labels_), None),
        "weighted": (X, y, quality),
    }
    for model, make in MODELS.items():
        for way, (inputs, labels, weight) in parts.items():
            started = time.process_time()
            fitted = make(seed).fit(inputs, labels, sample_weight=weight)
            spent = time.process_time() - started + (cleaning if way != "given" else 0)
            yield {"model": model, "way": way, "accuracy": fitted.score(X_test, truth), "seconds": spent}
        yield _clean_learning(model, make(seed), X, y, X_test, truth)


def _clean_learning(model: str, base: Any, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, truth: np.ndarray) -> Any:
    from cleanlab.classification import CleanLearning

    started = time.process_time()
    try:
        fitted = CleanLearning(base, seed=0, low_memory=True).fit(X, y)
        accuracy = fitted.score(X_test, truth)
    except (ValueError, IndexError) as error:  # where a class loses all of its labels
        return {"model": model, "way": "CleanLearning", "error": str(error)[:200]}
    return {"model": model, "way": "CleanLearning", "accuracy": accuracy, "seconds": time.process_time() - started}


def run(options: argparse.Namespace) -> None:
    """Measure what has no record yet."""
    facts = {name: environment("cpu")[name] for name in ("versions", "hardware")}
    held: dict[str, Any] = {}
    todo = {}
    for seed in options.seeds:
        for table in TABLES:
            kinds = noise.kinds(cache.load(table, "final", options.data, options.cache))
            for kind in NOISES:
                if kind in kinds:
                    todo[f"{table}, {kind}, {seed}"] = {"table": table, "noise": kind, "seed": seed}

    def measure(cell: drive.Cell) -> dict[str, Any]:
        name = cell["table"]
        if name not in held:
            held.clear()
            held[name] = cache.load(name, "final", options.data, options.cache)
        data, y = held[name], noise.draw(held[name], cell["noise"], cell["seed"])
        X, X_test = cache.as_arrays(data.train, data.test)
        scaler = StandardScaler().fit(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(scores(scaler.transform(X), y, scaler.transform(X_test), data.test_truth, cell["seed"]))
        return cell | {"wrong": float((y != data.truth).mean())} | facts | {"found": found}

    def line(record: dict[str, Any]) -> str:
        return ", ".join(f"{o['way']} {100 * o.get('accuracy', 0):.1f}" for o in record["found"])

    drive.run(TABLE, todo, measure, line=line)


def report() -> str:
    """Lay the records out as a page."""
    cells: dict[tuple[str, str, str], dict[tuple[str, int], float]] = defaultdict(dict)
    for r in TABLE.read().values():
        for one in r["found"]:
            if "accuracy" in one:
                cells[r["noise"], one["model"], one["way"]][r["table"], r["seed"]] = 100 * one["accuracy"]
    seeds = {seed for found in cells.values() for _, seed in found}
    head = [
        "# Cleaned labels for any model",
        "",
        f"Test accuracy in per cent, mean over {len(TABLES)} tables ({', '.join(TABLES)}) and {len(seeds)} seeds, of "
        "models trained on labels with drawn errors: as given, without the labels that `SelfDistillClassifier()` "
        "marks, with its refined labels in their place, weighted with `label_quality_`, and inside cleanlab's "
        "`CleanLearning` with five folds. In brackets the gain over the given labels, ± the standard error over "
        "tables and seeds. Made by `python -m benchmarks.cleaned_labels`; records in "
        "`benchmarks/records/cleaned_labels.parquet`.",
        "",
    ]
    for model in MODELS:
        head += [f"## {model.capitalize()}", "", "| noise | " + " | ".join(WAYS) + " |", "|---" * (len(WAYS) + 1) + "|"]
        for kind in NOISES:
            base = cells[kind, model, "given"]
            shown = [_cell(cells[kind, "own classifier" if w == "own classifier" else model, w], base) for w in WAYS]
            head.append(f"| {kind} | " + " | ".join(shown) + " |")
        head.append("")
    return "\n".join(head)


def _cell(found: dict[tuple[str, int], float], base: dict[tuple[str, int], float]) -> str:
    both = sorted(found.keys() & base.keys())
    if not both:
        return "–"
    mean, gains = np.mean([found[key] for key in both]), np.array([found[key] - base[key] for key in both])
    if not gains.any():
        return f"{mean:.1f}"
    short = f", {len(base) - len(both)} failed" if len(both) < len(base) else ""
    return f"{mean:.1f} ({gains.mean():+.1f} ± {gains.std(ddof=1) / len(gains) ** 0.5:.1f}{short})"


if __name__ == "__main__":
    run_or_report(__doc__, run, report)
