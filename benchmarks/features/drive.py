"""Run the cells that have no record yet, one after another, each in a process of its own."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from benchmarks import drive
from benchmarks.drive import Cell
from benchmarks.features import cache, data_sets, estimators, noise, records
from benchmarks.features.data_sets import DataSet
from benchmarks.features.measure import measure
from benchmarks.features.rivals import RIVALS, answer, rival
from benchmarks.science.cell import commit, forget_peak, peak_mib
from benchmarks.table import Record
from selfdistill._core.errors import SelfdistillError, SettingError, one_line
from selfdistill._core.record import environment

LIMIT = 1800.0
_OPTIONAL = ("cleanlab.classification", "lightgbm")

Load = Callable[[str], DataSet]
Work = Callable[[DataSet, Cell], dict[str, Any]]


def cells(
    part: str,
    load: Load,
    *,
    only: Sequence[str] = (),
    kinds: Sequence[str] = (),
    rivals: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[Cell]:
    """List the cells of a part; all of one seed come before the next."""
    for name in only:
        if name not in data_sets.names(part):
            known = ", ".join(data_sets.names(part))
            raise SettingError(f"part {part!r} has no data set {name!r}", f"Choose of {known}.")
    chosen = {name: rival(name) for name in rivals or RIVALS}
    found = []
    for name in only or data_sets.names(part):
        try:
            data_set = load(name)
        except (SelfdistillError, OSError) as error:
            drive.say(f"{name} is left out: {one_line(error)}")
            continue
        found += [
            {"part": part, "data": name, "noise": kind, "rival": who, "seed": seed}
            for kind in noise.kinds(data_set)
            for who, one in chosen.items()
            for seed in seeds
            if one.fits(data_set) and (not kinds or kind in kinds)
        ]
    return sorted(found, key=lambda cell: seeds.index(cell["seed"]))


def run(
    todo: Sequence[Cell],
    load: Load,
    *,
    store: Path = records.RECORDS,
    limit: float = LIMIT,
    again: bool = False,
    work: Work | None = None,
) -> int:
    """Run cells and write the record of each as it finishes."""
    if not todo:
        return 0
    part = todo[0]["part"]
    torch.set_num_threads(1)
    facts = {"commit": commit(), **_facts()}
    failed: list[Cell] = []

    def measured(cell: Cell) -> Record:
        result = drive.in_own_process(work or do, load(cell["data"]), cell, limit=limit, fork=True)
        record = {"schema": records.SCHEMA, "cell": cell, "settings": rival(cell["rival"]).settings, **result, **facts}
        if "failed" in result:
            failed.append(cell)
            records.write(part, record, store)
        return record

    def fits(record: Record, cell: Cell) -> bool:
        return not again and _is_done(record, cell)

    with threadpool_limits(1):
        drive.run(records.table_of(part, store), {records.key(c): c for c in todo}, measured, fits=fits, line=_line)
    return len(failed)


def _is_done(record: Record, cell: Cell) -> bool:
    return "failed" not in record and record["settings"] == rival(cell["rival"]).settings


def _facts() -> dict[str, Any]:
    """Describe the machine and the versions; also load what rivals need, so that its loading counts for nobody."""
    facts = environment("cpu")
    for module in _OPTIONAL:
        with suppress(ImportError):
            importlib.import_module(module)
            name = module.partition(".")[0]
            facts["versions"][name] = metadata.version(name)
    return facts


def _line(record: Record) -> str:
    found, ap = record["found"], record["found"]["average_precision"]
    ranked = "" if ap is None else f", AUROC {found['auroc']:.3f}, AP {ap:.3f}"
    return f"{100 * found['accuracy']:.1f} %{ranked}, {record['cost']['cpu_seconds']:.1f} s CPU"


def do(data_set: DataSet, cell: Cell) -> dict[str, Any]:
    """Draw the noise of a cell, run its rival, and measure it."""
    given = noise.draw(data_set, cell["noise"], cell["seed"])
    chosen = rival(cell["rival"])
    if chosen.run in {estimators.own, estimators.probe}:
        estimators.warm_up()
    forget_peak()
    held, wall, cpu = peak_mib(), time.perf_counter(), time.process_time()
    found = answer(chosen, data_set, given, cell["seed"])
    cost = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    cost["peak_mib"] = peak_mib() - held
    return {
        "found": measure(found, data_set.truth, given, data_set.test_truth),
        "rows": {"train": len(given), "test": len(data_set.test_truth), "classes": data_set.num_classes},
        "cost": {name: round(value, 3) for name, value in cost.items()},
    }


def loader(part: str, data: Path, store: Path) -> Load:
    """Make a function that reads data sets of a part; it keeps the one that was asked for last."""
    kept: dict[str, DataSet] = {}

    def load(name: str) -> DataSet:
        if name not in kept:
            kept.clear()
            kept[name] = cache.load(name, part, data, store)
        return kept[name]

    return load
