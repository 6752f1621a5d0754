"""The main job, measured: default against cross-entropy at its last, its oracle-best and its noisy-hold-out epoch.

    python -m benchmarks.main_job run SUITE [--data DIR] [--workers 2]     # resumable: finished cells are kept
    python -m benchmarks.main_job report                                   # reports/main-job.md from the records

Suites: fashion-cnn, fashion-mlp, fashion-mlp-long, tables. DIR holds ``fashion-mnist/`` with the four IDX files,
``tabular/`` and ``text/``. Records: ``benchmarks/records/main_job.parquet``. One whose entry "outdated" says of which
earlier code it is counts in the report, which says so, until the next run measures it anew.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.table import RECORDS, Table
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._read import read, read_test
from selfdistill.train._fit import fit

TABLE = Table(RECORDS / "main_job.parquet", 1)
NOISES = ("symmetric-0", "symmetric-20", "symmetric-40", "symmetric-60", "symmetric-80", "pair-40")
SEEDS = (0, 1, 2)
VARIANTS = (("selfdistill", 0.0), ("cross-entropy", 0.0), ("cross-entropy", 0.1))
SKLEARN = ("sklearn-logistic", "sklearn-mlp")  # scikit-learn's defaults but for enough iterations


def cells(suite: str) -> list[dict[str, Any]]:
    """List the cells of a suite; a cell is what one training needs to know."""
    if suite == "fashion-cnn":
        grid = [("cnn", 60_000, noise, 14) for noise in ("symmetric-40", "pair-40", NOISES[0])]
    elif suite == "fashion-mlp":
        grid = [("mlp", 10_000, noise, 40) for noise in NOISES]
    elif suite == "fashion-mlp-long":
        grid = [("mlp", 10_000, noise, 80) for noise in NOISES[1:]]
    elif suite == "tables":
        sets = ("music", "trec", "semeval")
        return [
            {"data": d, "method": m, "holdout": h, "seed": s, "network": "auto"}
            for s in SEEDS
            for d in sets
            for m, h in (*VARIANTS, *((name, 0.0) for name in SKLEARN))
        ]
    else:
        sys.exit(f"no suite {suite!r}; choose fashion-cnn, fashion-mlp, fashion-mlp-long or tables")
    return [
        {
            "data": "fashion",
            "network": network,
            "examples": n,
            "noise": noise,
            "epochs": epochs,
            "seed": seed,
            "method": method,
            "holdout": holdout,
        }
        for seed in SEEDS
        for network, n, noise, epochs in grid
        for method, holdout in VARIANTS
        if not (network == "cnn" and noise == NOISES[0] and holdout)
    ]


def load(cell: dict[str, Any], folder: Path) -> tuple[Any, Any, Any]:
    """Read a cell's data: training set with noisy labels and truth, test inputs, test labels."""
    import torch

    from selfdistill import noise

    if cell["data"] != "fashion":
        stem = {"music": "tabular/music_genre", "trec": "text/trec_question", "semeval": "text/semeval_relation"}
        path = folder / stem[cell["data"]]
        ignore = ("majority_label",) if cell["data"] == "music" else ()
        options = ReadOptions(label="label", id="id", truth="true_label", ignore=ignore)
        train = read(Path(f"{path}_train.csv"), options)
        test = read_test(Path(f"{path}_test.csv"), train, ReadOptions(label="true_label", id="id"))
        return train, *test[:2]
    full = read(folder / "fashion-mnist", ReadOptions())
    test = read_test(None, full, ReadOptions(), source=folder / "fashion-mnist")
    order = torch.randperm(len(full), generator=torch.Generator().manual_seed(0))[: cell["examples"]]
    clean = full.labels[order]
    kind, percent = cell["noise"].split("-")
    rate = int(percent) / 100
    matrix = noise.pair(10, rate) if kind == "pair" else noise.symmetric(10, rate, include_clean=False)
    given = noise.draw(clean, matrix, seed=cell["seed"]).labels
    return subset(full, order, given, clean), *test[:2]


def subset(full: Any, order: Any, given: Any, truth: Any) -> Any:
    """Take some examples of a data set, with other labels."""
    from dataclasses import replace

    index = order.numpy()
    return replace(full, inputs=full.inputs[order], labels=given, ids=full.ids[index], truth=truth)


def run_cell(cell: dict[str, Any], folder: str, threads: int) -> dict[str, Any]:
    """Train one cell and return its record."""
    import torch

    from selfdistill import train
    from selfdistill._core.record import environment
    from selfdistill.issues import compare_with_truth, label_table

    torch.set_num_threads(threads)
    whole, test_x, test_y = load(cell, Path(folder))
    if cell["method"] in SKLEARN:
        return run_sklearn(cell, whole, test_x, test_y)
    evaluations = {"test": (test_x, test_y)}
    part = whole
    if cell["holdout"]:
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(cell["seed"]))
        cut = round(cell["holdout"] * len(whole))
        evaluations["holdout"] = (whole.inputs[order[:cut]], whole.labels[order[:cut]])
        part = subset(whole, order[cut:], whole.labels[order[cut:]], whole.truth[order[cut:]])
    settings = train.Settings(
        method=cell["method"], network=cell["network"], epochs=cell.get("epochs"), seed=cell["seed"]
    ).resolve(len(part), "cpu")
    started = time.perf_counter()
    fitted = fit(part, settings, evaluations=evaluations)
    seconds = time.perf_counter() - started
    table = label_table(fitted.targets.refined(), fitted.dynamics, counts=fitted.counts)
    curve = [epoch["test_accuracy"] for epoch in fitted.curves]
    result = {
        "last": curve[-1],
        "best": max(curve),
        "truth": compare_with_truth(table, part.truth.numpy()),
        "per_class": per_class(table, part),
        "flagged": int(table.is_issue.sum()),
        "seconds": seconds,
        "train_seconds": sum(epoch["seconds"] for epoch in fitted.curves),
    }
    if cell["holdout"]:
        held = [epoch["holdout_accuracy"] for epoch in fitted.curves]
        result["holdout_epoch"] = held.index(max(held))
        result["at_holdout"] = curve[result["holdout_epoch"]]
    return {
        "schema": 1,
        "cell": cell,
        "settings": settings.as_dict(),
        "result": result,
        "curves": fitted.curves,
        **environment("cpu"),
    }


def run_sklearn(cell: dict[str, Any], train: Any, test_x: Any, test_y: Any) -> dict[str, Any]:
    """Train a scikit-learn classifier on the same features and labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    from selfdistill._core.record import environment

    started = time.perf_counter()
    model = (
        LogisticRegression(max_iter=2000)
        if cell["method"] == "sklearn-logistic"
        else MLPClassifier(max_iter=500, random_state=cell["seed"])
    )
    model.fit(train.inputs.numpy(), train.labels.numpy())
    accuracy = float(model.score(test_x.numpy(), test_y.numpy()))
    predicted, truth, given = model.predict(train.inputs.numpy()), train.truth.numpy(), train.labels.numpy()
    measured = {
        "given_right": float((given == truth).mean()),
        "refined_right": float((predicted == truth).mean()),
        "wrong_set_right": float((predicted == truth)[given != truth].mean()),
    }
    result = {"last": accuracy, "best": accuracy, "truth": measured, "seconds": time.perf_counter() - started}
    return {
        "schema": 1,
        "cell": cell,
        "settings": model.get_params(),
        "result": result,
        "curves": [],
        **environment("cpu"),
    }


def per_class(table: Any, part: Any) -> dict[str, list[float]]:
    """For each true class: examples, share of given and of refined labels that are right."""
    truth = part.truth.numpy()
    rows = {}
    for k, name in enumerate(part.classes):
        mine = truth == k
        if mine.any():
            rows[name] = [
                int(mine.sum()),
                float((table.given[mine] == k).mean()),
                float((table.refined[mine] == k).mean()),
            ]
    return rows


def run(suite: str, folder: Path, workers: int, threads: int | None = None) -> None:
    """Run the cells of a suite that have no record yet; threads per training: the cores over the workers."""
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    todo = sorted(cells(suite), key=lambda c: c["holdout"])  # the main comparison first

    def measured(cell: drive.Cell) -> dict[str, Any]:
        return drive.in_own_process(run_cell, cell, str(folder), each)

    def line(record: dict[str, Any]) -> str:
        r = record["result"]
        return f"last {r['last']:.4f} best {r['best']:.4f} {r['seconds']:.0f} s"

    todo_by_key = {drive.key(cell): cell for cell in todo}
    drive.run(TABLE, todo_by_key, measured, line=line, spread=drive.over_processes, jobs=workers)


def suite() -> drive.Suite:
    """What is asked for now."""
    every = ("fashion-cnn", "fashion-mlp", "fashion-mlp-long", "tables")
    return drive.Suite(TABLE, {drive.key(cell): cell for name in every for cell in cells(name)})


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("suite", nargs="?")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, help="threads of each training; default: the cores over the workers")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.suite or "fashion-mlp", arguments.data, arguments.workers, arguments.threads)
    else:
        from benchmarks.main_job_report import report

        report(TABLE.read())


if __name__ == "__main__":
    main()
