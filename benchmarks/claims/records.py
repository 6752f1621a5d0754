"""Records: one JSON file per claim, part and seed, written beside and renamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.claims.claim import SEEDS, Claim, Part, Record
from benchmarks.science.records import read_file
from selfdistill._core.errors import RunError
from selfdistill._core.files import write_json

SCHEMA = 1
RECORDS = Path(__file__).resolve().parents[1] / "records" / "claims"


def path_of(folder: Path, form: str, claim: str, part: str, seed: int) -> Path:
    """Name the file of a record."""
    return folder / form / claim / f"{part}-seed{seed}.json"


def plain(settings: Any) -> Any:
    """Turn settings into what JSON gives back, so that they can be compared."""
    return json.loads(json.dumps(settings))


def read(folder: Path, form: str, claim: Claim, part: Part, seed: int) -> Record | None:
    """Read a record, if there is one, and check that it is of this part.

    Args:
        folder: Where records lie.
        form: "full" or "small".
        claim: The claim.
        part: Its part.
        seed: Its seed.

    Returns:
        The record or ``None``.

    Raises:
        RunError: Damaged, of another schema, or measured with other settings; names the file and the way out.
    """
    path = path_of(folder, form, claim.name, part.name, seed)
    if not path.is_file():
        return None
    found = read_file(path, SCHEMA)
    now = plain({"claim": claim.name, "part": part.name, "seed": seed, "settings": dict(part.settings)})
    differ = [key for key, value in now.items() if found.get(key) != value]
    if differ:
        raise RunError(
            f"{path} was measured with other {', '.join(differ)} than claim {claim.name!r} has now",
            "Delete the file to measure it anew, or give the changed part a name of its own.",
        )
    return found


def write(folder: Path, form: str, record: Record) -> Path:
    """Write a record, whole or not at all."""
    path = path_of(folder, form, record["claim"], record["part"], record["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA} | record)
    return path


def rows(folder: Path, form: str, claim: Claim, seeds: tuple[int, ...] = SEEDS) -> dict[str, list[Record]]:
    """Read all records of a claim, by part, in the order of the seeds."""
    found = {p.name: [read(folder, form, claim, p, seed) for seed in seeds] for p in claim.parts(form)}
    return {name: [r for r in records if r is not None] for name, records in found.items()}
