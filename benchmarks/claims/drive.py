"""Measure what has no record yet, part by part and seed by seed."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks import drive
from benchmarks.claims import records
from benchmarks.claims.claim import SEEDS, Claim, Part, Record, verdicts
from benchmarks.claims.problems import missing
from selfdistill._core.errors import SettingError


def claims() -> dict[str, Claim]:
    """All claims by name, in the order of the report."""
    from benchmarks.claims import air, early_stopping, margin, no_early_stopping, rounds, self_distillation

    found = (early_stopping, air, self_distillation, margin, no_early_stopping, rounds)
    return {module.CLAIM.name: module.CLAIM for module in found}


def select(names: Sequence[str]) -> list[Claim]:
    """Choose claims by name; all where none is named."""
    known = claims()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise SettingError(f"claim {name!r} does not exist", f"{hint}Choose of {', '.join(known)}.")
    return [known[name] for name in names or known]


def measured(claim: Claim, form: str, part: Part, seed: int, folder: Path) -> Record:
    """Measure one part once."""
    import torch

    from selfdistill._core.record import environment

    started, busy = time.perf_counter(), time.process_time()
    result = claim.measure(part.settings, seed, folder)
    cost = {"wall_seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
    numbers = {name: round(float(value), 6) for name, value in result.numbers.items()}
    torch.manual_seed(0)  # whatever a measurement drew from the global generator, the next one starts alike
    return {
        "form": form,
        "claim": claim.name,
        "part": part.name,
        "seed": seed,
        "settings": records.plain(dict(part.settings)),
        "numbers": numbers,
        "curves": result.curves,
        "cost": {name: round(value, 2) for name, value in cost.items()},
    } | environment("cpu")


def run(
    chosen: Sequence[Claim],
    form: str,
    data: Path,
    *,
    seeds: Sequence[int] = SEEDS,
    only: str = "*",
    budget: float | None = None,
    store: Path = records.RECORDS,
) -> bool:
    """Measure what is missing, and tell the verdicts.

    Seeds come before parts, so that a run that is cut short has whole rounds.
    """
    left: list[str] = []
    started = time.monotonic()
    for claim in chosen:
        cells: dict[str, drive.Cell] = {}
        there = records.rows(store, form, claim)  # refuses what does not fit
        known = {(part, record["seed"]) for part, found in there.items() for record in found}
        for seed in seeds:
            for part in claim.parts(form):
                if not fnmatch(part.name, only) or (part.name, seed) in known:
                    continue
                if absent := missing(part.needs, data):
                    left.append(records.key(claim, part, seed))
                    drive.say(f"left out {left[-1]}: {data} has no {', '.join(absent)}")
                else:
                    cells[records.key(claim, part, seed)] = {"part": part, "seed": seed}

        def work(cell: drive.Cell, claim: Claim = claim) -> Record:
            return {"schema": records.SCHEMA} | measured(claim, form, cell["part"], cell["seed"], data)

        table, minutes = records.table_of(store, form), float("inf")
        if budget is not None:
            minutes = budget - (time.monotonic() - started) / 60
        drive.run(table, cells, work, line=lambda r: f"{r['cost']['cpu_seconds']:.1f} s of CPU", minutes=minutes)
        left += [key for key in cells if key not in table.read()]
        for found in verdicts(claim, form, records.rows(store, form, claim)):
            drive.say(f"{claim.name}: {found.sentence}")
    return not left
