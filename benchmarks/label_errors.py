"""Finding label errors: one training with the default beside cleanlab's five folds and other rivals.

    python -m benchmarks.label_errors run [SUITE ...] [--data DIR] [--scratch DIR]   # resumable, one process at a time
    python -m benchmarks.label_errors report                                         # reports/label-errors.md

Suites: fashion, tables, cifar10n. DIR holds ``fashion-mnist/``, ``tabular/``, ``text/``, and ``cifar10/`` with the
binary batches and ``cifar10n.npz`` (human labels). Needs cleanlab 2.9 and doubtlab, and Linux for the peaks of memory.
Records: ``benchmarks/records/label_errors.parquet``, a row per cell and stage. One with an entry "outdated" counts in
the report, which says so, until the next run measures it anew.
"""

from __future__ import annotations

import argparse
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.table import RECORDS, Table

TABLE = Table(RECORDS / "label_errors.parquet", 1)
SEEDS = (0, 1, 2)
NOISES = ("symmetric-40", "pair-40", "symmetric-20", "symmetric-5")
HUMAN = ("worse_label", "random_label1")
FIRST = ("selfdistill", "cross-entropy", "cleanlab")
AGAIN = ("again on refined", "again on kept", "again on cleanlab's kept")
SUITES = ("fashion", "tables", "cifar10n")


def cells(suite: str) -> list[dict[str, Any]]:
    """List the cells of a suite; a cell is a data set with its labels and a seed."""
    if suite == "tables":
        return [{"data": d, "seed": s, "network": "auto"} for s in SEEDS for d in ("music", "semeval")]
    if suite == "cifar10n":
        common = {"data": suite, "network": "cnn", "examples": 10_000, "epochs": 15}
        return [common | {"noise": noise, "seed": s} for s in SEEDS for noise in HUMAN]
    common = {"data": "fashion", "network": "mlp", "examples": 10_000, "epochs": 40}
    return [common | {"noise": noise, "seed": s} for s in SEEDS for noise in NOISES]


def key(cell: dict[str, Any], stage: str) -> str:
    """Name a cell's stage."""
    return f"{drive.key(cell)} {stage}"


def run(suites: list[str], folder: Path, scratch: Path, stages: list[str], seeds: list[int]) -> None:
    """Run what has no record yet; a stage whose forerunner left no arrays behind runs that again."""
    todo = {}
    for cell in sorted((c for suite in suites for c in cells(suite)), key=lambda c: c["seed"]):
        place = scratch / "-".join(str(cell.get(k, "")) for k in ("data", "noise", "seed"))
        for stage in stages if cell["seed"] in seeds else ():
            todo[key(cell, stage)] = {"cell": cell, "stage": stage, "place": place}
    needs = {AGAIN[0]: FIRST[0], AGAIN[1]: FIRST[0], AGAIN[2]: FIRST[2]}

    def measured(one: dict[str, Any]) -> dict[str, Any]:
        cell, stage, place = one.values()
        if not (place / "data.pickle").exists():
            from benchmarks.label_errors_rivals import prepare

            place.mkdir(parents=True, exist_ok=True)
            (place / "data.pickle").write_bytes(pickle.dumps(prepare(cell, folder)))
        if stage in needs and not (place / f"{needs[stage]}.npz").exists():
            TABLE.add({key(cell, needs[stage]): drive.in_own_process(run_stage, cell, needs[stage], place)})
        return drive.in_own_process(run_stage, cell, stage, place)

    drive.run(TABLE, todo, measured)


def suite() -> drive.Suite:
    """What is asked for now."""
    every = ((cell, stage) for name in SUITES for cell in cells(name) for stage in (*FIRST, *AGAIN))
    return drive.Suite(TABLE, {key(cell, stage): cell for cell, stage in every})


def run_stage(cell: dict[str, Any], stage: str, place: Path) -> dict[str, Any]:
    """Run one stage in this process and return its record."""
    import numpy as np
    import torch

    from benchmarks import label_errors_rivals as rivals
    from selfdistill._core.record import environment
    from selfdistill.train import Settings
    from selfdistill.train._settings import choose_network

    torch.set_num_threads(1)
    part, test = pickle.loads((place / "data.pickle").read_bytes())
    settings = Settings(network=cell["network"], epochs=cell.get("epochs"), seed=cell["seed"])
    settings = settings.resolve(len(part), "cpu")
    settings = replace(settings, network=choose_network(settings.network, len(part), tuple(part.inputs.shape[1:])))
    plain = replace(settings, method="cross-entropy")
    rivals.warm_up(part, plain)
    if stage == "selfdistill":
        record, arrays = rivals.run_default(part, test, settings)
    elif stage == "cross-entropy":
        record, arrays = rivals.run_plain(part, test, plain)
    elif stage == "cleanlab":
        record, arrays = rivals.run_cleanlab(part, test, plain)
    else:
        found = np.load(place / ("cleanlab.npz" if stage == AGAIN[2] else "selfdistill.npz"))
        if stage == AGAIN[0]:
            part = replace(part, labels=torch.from_numpy(found["refined"]))
        else:
            part = rivals.subset(part, np.flatnonzero(~found["is_issue"]))
        record, arrays = rivals.run_again(part, test, plain)
    if arrays:
        np.savez(place / f"{stage}.npz", **arrays)
    head = {"schema": 1, "cell": cell, "stage": stage, "settings": settings.as_dict()}
    return head | {"result": record} | environment("cpu") | {"packages": packages(), "threads": 1}


def packages() -> dict[str, str]:
    """Say which versions of the rivals ran."""
    from importlib.metadata import version

    return {name: version(name) for name in ("cleanlab", "doubtlab", "scikit-learn")}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("what", nargs="*", help="suites to run; all by default")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--scratch", type=Path, default=Path("build") / "label_errors", help="arrays between stages")
    parser.add_argument("--stages", nargs="+", default=[*FIRST, *AGAIN])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.what or list(SUITES), arguments.data, arguments.scratch, arguments.stages, arguments.seeds)
    else:
        from benchmarks.label_errors_report import report

        report(TABLE.read())


if __name__ == "__main__":
    main()
