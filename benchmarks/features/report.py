"""The records as Markdown: first the rows that our method loses, then means over rows, then every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.features import records
from benchmarks.features.rivals import OURS
from benchmarks.pages import grid, spread
from benchmarks.science.columns import compare
from benchmarks.table import RECORDS, Record, Table

METRICS = {"accuracy": "accuracy", "auroc": "AUROC", "average_precision": "average precision"}

Row = tuple[str, str]
Rows = dict[Row, dict[str, list[Record]]]


def group(found: Iterable[Record]) -> Rows:
    """Sort records into rows (data set, noise), rivals and seeds."""
    rows: Rows = {}
    for record in found:
        cell = record["cell"]
        rows.setdefault((cell["data"], cell["noise"]), {}).setdefault(cell["rival"], []).append(record)
    return {row: rows[row] for row in sorted(rows)}


def by_seed(found: list[Record], metric: str) -> dict[int, float]:
    """Collect a metric over seeds; failed cells, and those without it, have none."""
    values = {record["cell"]["seed"]: record["found"][metric] for record in found if "found" in record}
    return {seed: value for seed, value in values.items() if value is not None}


def write(part: str, ours: str = OURS[0], folder: Path = records.RECORDS) -> str:
    """Write the report of a part."""
    rows = group(records.table_of(part, folder).read().values())
    if not rows:
        return f"No cell of the part {part!r} is measured."
    lines = [f"# Classifiers on fixed features, {part} part", ""]
    sections = (_lost(rows, ours), _summary(rows, ours), _counting(rows, ours), _without_noise(rows, ours))
    for section in (*sections, _failed(rows), _tables(rows)):
        lines += [*section, ""]
    return "\n".join(lines).rstrip()


def _rivals(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name for found in rows.values() for name in found))


def _lost(rows: Rows, ours: str) -> list[str]:
    """Name the rows where a rival is better: by a paired t-test at 5 %, or by the mean where seeds are too few."""
    lines = [f"## Rows that {ours} loses", ""]
    for rival in _rivals(rows):
        counts = []
        for metric, name in METRICS.items():
            lost = []
            for row, found in rows.items():
                beside = compare(by_seed(found.get(ours, []), metric), by_seed(found.get(rival, []), metric))
                untested = beside.verdict == "untested" and beside.seeds > 0 and beside.difference < 0
                if beside.verdict == "loss" or untested:
                    few = f", {beside.seeds} seeds only" if untested else ""
                    lost.append(f"{', '.join(row)} ({100 * beside.difference:+.1f}{few})")
            counts += [f"{name}, {len(lost)}: {'; '.join(lost)}"] if lost else []
        if rival != ours and counts:
            lines.append(f"- **{rival}**. {'. '.join(counts)}.")
    return lines if len(lines) > 2 else [*lines, "None."]


def _summary(rows: Rows, ours: str) -> list[str]:
    """Give the means over rows, each rival beside ours on the rows that both have."""
    head = ["rival", "rows"]
    for name in METRICS.values():
        head += [name, f"{ours} there", "wins / ties / losses"]
    head += ["counted / wrong", "refined right", "CPU s", "peak MiB"]
    body = []
    for rival in _rivals(rows):
        mine = [
            (found[rival], found.get(ours, [])) for found in rows.values() if by_seed(found.get(rival, []), "wrong")
        ]
        cells = [rival, str(len(mine))]
        for metric in METRICS:
            cells += _beside(mine, metric)
        found = [record for records_, _ in mine for record in records_ if "found" in record]
        ratios = [counted(r["found"]) / r["found"]["wrong"] for r in found if _has_count(r["found"])]
        refined = [r["found"]["refined_right"] for r in found if r["found"]["refined_right"] is not None]
        cells += [_mean(ratios, 1, 2), _mean(refined, 100, 1)]
        cells += [_mean([r["cost"][what] for r in found], 1, 1) for what in ("cpu_seconds", "peak_mib")]
        body.append(cells)
    return [f"## Means over rows; {ours} on the same rows", "", *grid(head, body)]


def _beside(mine: list[tuple[list[Record], list[Record]]], metric: str) -> list[str]:
    """Give a rival's mean of a metric, ours on the same rows, and our wins, ties and losses."""
    theirs, own, verdicts = [], [], []
    for rival, ours in mine:
        a, b = by_seed(ours, metric), by_seed(rival, metric)
        if b:
            theirs.append(mean(b.values()))
        if a and b:
            own.append(mean(a.values()))
            verdicts.append(compare(a, b).verdict)
    tally = " / ".join(str(verdicts.count(word)) for word in ("win", "tie", "loss"))
    there = _mean(own, 100, 1) if len(own) == len(theirs) else f"{_mean(own, 100, 1)} ({len(own)} rows)"
    return [_mean(theirs, 100, 1), there, tally]


def _mean(values: list[float], scale: float, digits: int) -> str:
    return f"{scale * mean(values):.{digits}f}" if values else "–"


def counted(found: Mapping[str, Any]) -> float | None:
    """How many labels a rival says are wrong: the number it expects, else the number it flags."""
    expected: float | None = found["expected_wrong"]
    return found["flagged"] if expected is None else expected


def _has_count(found: Mapping[str, Any]) -> bool:
    return found["wrong"] > 0 and counted(found) is not None


def _counting(rows: Rows, ours: str) -> list[str]:
    """How near to the number of wrong labels ours counts, by kind of noise, and how often its range holds it."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for (_, kind), found in rows.items():
        whole = [r["found"] for r in found.get(ours, []) if "found" in r and _has_count(r["found"])]
        kinds.setdefault(kind, []).extend(whole)
    body, limits = [], _limits(rows, ours)
    for kind, whole in sorted(kinds.items()):
        ranges = [(one["plausible"], one["wrong"]) for one in whole if one.get("plausible")]
        inside = sum(low <= wrong <= high for (low, high), wrong in ranges)
        off = sorted(map(_off, whole))
        if off:
            sides = [
                [one for one in whole if one.get("plausible") and _told(one) == by_method]
                for by_method in (True, False)
            ]
            near = [f"{sum(_off(one) <= 0.1 for one in some)} of {len(some)}" for some in (whole, *sides)]
            row = [kind, *near, f"{off[len(off) // 2]:.2f}", f"{inside} of {len(ranges)}" if ranges else "–"]
            body.append([*row, limits.get(kind, "–")])
    head = ["noise", "cells within a tenth", "of these, range narrow", "range wide"]
    head += ["median of abs(counted / wrong - 1)", "wrong inside the range", "at most"]
    about = (
        "A range of plausible numbers is narrow if it is at most half as wide as the number counted. *At most*: so "
        "many cells would be within a tenth, in the mean over draws, if each row's probabilities of the classes were "
        "known up to one number, their sharpness, and only it and the rate had to be estimated "
        "(`benchmarks/counting_limit.py`)."
    )
    return [f"## How {ours} counts", "", *([about, "", *grid(head, body)] if body else ["No cell has wrong labels."])]


def _limits(rows: Rows, ours: str) -> dict[str, str]:
    """How many of the cells that were measured a method could count within a tenth that knows the classes."""
    known = Table(RECORDS / "counting_limit.parquet").read()
    shares: dict[str, list[float]] = {}
    for (data, kind), found in rows.items():
        limit = known.get(f"{data}, {kind}")
        cells = [r for r in found.get(ours, []) if "found" in r and _has_count(r["found"])]
        if limit is not None:
            shares.setdefault(kind, []).extend([limit["within_a_tenth_sharpness"]] * len(cells))
    return {kind: f"{sum(each):.0f} of {len(each)}" for kind, each in shares.items() if each}


def _off(found: Mapping[str, Any]) -> float:
    return abs((counted(found) or 0.0) / found["wrong"] - 1)


def _told(found: Mapping[str, Any]) -> bool:
    """Whether the data tell the number of wrong labels."""
    low, high = found["plausible"]
    return bool(high - low <= 0.5 * (counted(found) or 0.0))


_PLAIN = ("forest", "forest, leaf 5", "logistic", "tuned logistic", "LightGBM", "boosting", "ridge, GCV", "network")
"""Rivals that learn from given labels as they are."""


def _without_noise(rows: Rows, ours: str) -> list[str]:
    """What ours costs where no label is wrong, beside the best of the plain models."""
    body = []
    for (data, kind), found in rows.items():
        mine = [r for r in found.get(ours, []) if "found" in r]
        plain = {name: by_seed(found[name], "accuracy") for name in _PLAIN if name in found and name != ours}
        means = {name: mean(values.values()) for name, values in plain.items() if values}
        if kind == "symmetric-0" and mine and means:
            best = max(means, key=lambda name: means[name])
            own = mean(by_seed(mine, "accuracy").values())
            flagged = [
                100 * r["found"]["flagged"] / r["rows"]["train"] for r in mine if r["found"]["flagged"] is not None
            ]
            body.append([data, f"{100 * own:.1f}", f"{100 * means[best]:.1f} ({best})", _mean(flagged, 1, 1)])
    head = ["data", f"accuracy of {ours}", "best plain model", "labels flagged, %"]
    return ["## Without noise", "", *(grid(head, body) if body else ["Not measured."])]


def _failed(rows: Rows) -> list[str]:
    """Name what failed: each message once for each rival, with one of its cells."""
    failures: dict[tuple[str, str], list[str]] = {}
    for found in rows.values():
        for rival, mine in found.items():
            for record in mine:
                if "failed" in record:
                    cell = records.key(record["cell"])
                    failures.setdefault((rival, record["failed"]), []).append(cell)
    lines = [f"- {rival}, {len(cells)} cells, such as {cells[0]}: {why}" for (rival, why), cells in failures.items()]
    return ["## Failed cells", "", *(lines or ["None."])]


def _tables(rows: Rows) -> list[str]:
    lines = ["## Every row", ""]
    lines += [
        "In per cent, mean ± standard deviation over seeds; *counted*: labels expected to be wrong, else flagged."
    ]
    head = ["rival", *METRICS.values(), "counted / wrong", "refined right", "CPU s"]
    for row, found in rows.items():
        body = []
        for rival, mine in found.items():
            whole = [record["found"] for record in mine if "found" in record]
            counts = [count for one in whole if (count := counted(one)) is not None]
            wrong = _mean([one["wrong"] for one in whole], 1, 0)
            cells = [spread([*by_seed(mine, metric).values()]) for metric in METRICS]
            cells += [f"{_mean(counts, 1, 0)} / {wrong}", spread([*by_seed(mine, "refined_right").values()])]
            spent = [record["cost"]["cpu_seconds"] for record in mine if "cost" in record]
            body.append([rival, *cells, _mean(spent, 1, 1)])
        lines += ["", f"### {', '.join(row)}", "", *grid(head, body)]
    return lines
