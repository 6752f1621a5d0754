"""Records: one table per form, one row per claim, part and seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import drive
from benchmarks.claims.claim import SEEDS, Claim, Part, Record
from benchmarks.table import RECORDS as ROOT
from benchmarks.table import Table
from selfdistill._core.errors import RunError

SCHEMA = 1
RECORDS = ROOT / "claims"


def table_of(folder: Path, form: str) -> Table:
    """The table of a form, "full" or "small"."""
    return Table(folder / f"{form}.parquet", SCHEMA)


def key(claim: Claim, part: Part, seed: int) -> str:
    """Name a record."""
    return f"{claim.name}/{part.name}-seed{seed}"


def plain(settings: Any) -> Any:
    """Turn settings into what JSON gives back, so that they can be compared."""
    return json.loads(json.dumps(settings))


def asked(claim: Claim, part: Part, seed: int) -> Record:
    """Say what a record of this part must hold."""
    return {"claim": claim.name, "part": part.name, "seed": seed, "settings": plain(dict(part.settings))}


def write(folder: Path, form: str, claim: Claim, part: Part, record: Record) -> None:
    """Write a record."""
    table_of(folder, form).add({key(claim, part, record["seed"]): {"schema": SCHEMA} | record})


def rows(folder: Path, form: str, claim: Claim, seeds: tuple[int, ...] = SEEDS) -> dict[str, list[Record]]:
    """Read all records of a claim, by part, in the order of the seeds."""
    table = table_of(folder, form)
    there = table.read()
    found: dict[str, list[Record]] = {}
    for part in claim.parts(form):
        mine = [(seed, there[key(claim, part, seed)]) for seed in seeds if key(claim, part, seed) in there]
        found[part.name] = [record for _, record in mine]
        for seed, record in mine:
            now = asked(claim, part, seed)
            if any(record.get(name) != value for name, value in now.items()):
                raise RunError(
                    f"record {key(claim, part, seed)!r} of {table.path} was measured with other "
                    f"{', '.join(drive.differing(record, now))} than claim {claim.name!r} has now",
                    f"{table.drop(key(claim, part, seed))} Or give the changed part a name of its own.",
                )
    return found


def suite(form: str) -> drive.Suite:
    """What the claims ask for now."""
    from benchmarks.claims.drive import claims

    every = [(claim, part, seed) for claim in claims().values() for part in claim.parts(form) for seed in SEEDS]
    return drive.Suite(table_of(RECORDS, form), {key(*one): asked(*one) for one in every}, None)
