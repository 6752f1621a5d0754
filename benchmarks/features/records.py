"""Records of cells: a file of lines for each part, each line the JSON of one cell. The last line of a cell counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfdistill._core.errors import RunError

SCHEMA = 1
RECORDS = Path(__file__).resolve().parents[1] / "records" / "features"

Cell = dict[str, Any]
Record = dict[str, Any]
Key = tuple[str, str, str, int]


def key(cell: Cell) -> Key:
    """Name a cell: data set, noise, rival, seed."""
    return cell["data"], cell["noise"], cell["rival"], cell["seed"]


def path_of(part: str, folder: Path = RECORDS) -> Path:
    """Name the file of a part."""
    return folder / f"{part}.jsonl"


def read(part: str, folder: Path = RECORDS) -> dict[Key, Record]:
    """Read the records of a part.

    Args:
        part: "development" or "final".
        folder: Where records lie.

    Returns:
        Records by key; those of failed cells hold ``failed`` in place of ``found``.

    Raises:
        RunError: A line that is no record of this schema.
    """
    path = path_of(part, folder)
    found: dict[Key, Record] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            record = json.loads(line)
            if record["schema"] != SCHEMA:
                raise ValueError(f"its schema is {record['schema']}, not {SCHEMA}")
            found[key(record["cell"])] = record
        except (ValueError, KeyError) as error:
            raise RunError(
                f"{path}, line {number}, is no record: {error}", "Delete the line; it is measured anew."
            ) from error
    return found


def _whole_lines(path: Path) -> list[str]:
    """Read the lines that were written to their end."""
    return path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


def append(part: str, record: Record, folder: Path = RECORDS) -> None:
    """Add a line; what a killed run left of a line is taken away first."""
    path = path_of(part, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        size = file.seek(0, 2)
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        if whole < size:
            file.truncate(whole)
        file.write((json.dumps({"schema": SCHEMA} | record) + "\n").encode())
