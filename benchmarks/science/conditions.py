"""Conditions of a suite, the records that belong to each, and whom the default beats there."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks.science import records
from benchmarks.science.columns import DEFAULT, END, HOLDOUT, PART, Comparison, Record, by_seed, compare
from benchmarks.science.suite import Suite

Key = tuple[str, str, str]
Rows = dict[str, list[Record]]


def group(suite: Suite, store: Path) -> dict[Key, Rows]:
    """Sort a suite's records by data, noise and network, and within by row."""
    sorted_in: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records.finished(suite, suite.cells(), store).values():
        cell = record["cell"]
        sorted_in[cell["data"], cell["noise"], cell["network"], cell["row"]].append(record)
    groups: dict[Key, Rows] = {}
    for key in ((data, noise, network) for data in suite.data for noise in suite.noise for network in suite.networks):
        rows = {row.name: sorted_in[*key, row.name] for row in suite.rows if (*key, row.name) in sorted_in}
        if rows:
            groups[key] = rows
    return groups


def comparisons(rows: Rows) -> dict[str, dict[str, Comparison]]:
    """Compare the default's last epoch with each rival's last and hold-out epoch."""
    default = by_seed(rows.get(DEFAULT, []), END)
    return {
        name: {column: compare(default, by_seed(found, column)) for column in (END, HOLDOUT)}
        for name, found in rows.items()
        if name != DEFAULT
    }


def not_rivals(suite: Suite) -> set[str]:
    """Name the rows that are shown and not counted: told the noise, variants of the default, and a part of it."""
    return {row.name for row in suite.rows if row.told or row.method == PART or (row.method == DEFAULT and row.numbers)}


def outcome(suite: Suite, rows: Rows) -> dict[str, list[str]]:
    """Say which rivals the default wins against, ties with and loses to in one condition."""
    left_out = not_rivals(suite)
    found: dict[str, list[str]] = {word: [] for word in ("win", "tie", "loss", "diverged", "untested")}
    for name, beside in comparisons(rows).items():
        if name in left_out:
            continue
        if any(record["diverged"] for record in rows[name]):
            found["diverged"].append(name)
            continue
        verdicts = {column: beside[column].verdict for column in (END, HOLDOUT)}
        worst = next(word for word in ("loss", "tie", "untested", "win") if word in verdicts.values())
        where = [column for column, verdict in verdicts.items() if verdict == worst]
        found[worst].append(name if len(where) == 2 or worst == "untested" else f"{name} ({where[0]})")
    return found


def condition(suite: Suite, key: Key) -> str:
    """Name a condition by what differs within its suite."""
    several = (len(suite.data) > 1, len(suite.noise) > 1 or len(suite.data) == 1, len(suite.networks) > 1)
    return ", ".join(part for part, shown in zip(key, several, strict=True) if shown)
