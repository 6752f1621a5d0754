"""What a distillation did, in lines: who taught, chosen from whom, and what the soft labels hold. Pure: record in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfdistill.distill._measures import sentences

__all__ = ["summary", "who_teaches"]

_ROWS = 12


def who_teaches(distillation: Mapping[str, Any]) -> str:
    """Say who teaches, in one line.

    Args:
        distillation: Of a run record.

    Returns:
        The sentence.

    Example:
        >>> who_teaches({"teacher": {"name": "runs/a-001", "epoch": 4}, "choose": "held-out", "candidates": [1, 2]})
        'Teacher: runs/a-001 after epoch 4, chosen by held-out from 2 epochs'
    """
    teacher = distillation["teacher"]
    epoch = f" after epoch {teacher['epoch']}" if "epoch" in teacher else ""
    count = len(distillation.get("candidates", ()))
    chosen = f", chosen by {distillation['choose']} from {count} epochs" if count > 1 else ""
    return f"Teacher: {teacher['name']}{epoch}{chosen}"


def summary(record: Mapping[str, Any]) -> list[str]:
    """Say what a student's run record holds about its teacher.

    Args:
        record: The run record.

    Returns:
        Lines of text; those that begin a part do not start with a space.
    """
    found = record["distillation"]
    labels = found["soft_labels"]
    lines = [who_teaches(found), *_table(found), *sentences(found["dark_knowledge"])]
    where = f" in {labels['file']}" if "file" in labels else ""
    views = f", {labels['views']} views ({labels['augment']})" if labels["augment"] != "none" else ""
    lines.append(f"  Kept as {labels['kind']}{views}, {labels['bytes']:,} bytes{where}")
    for one in found["earlier"]:
        tested = f": test accuracy {100 * one['test_accuracy']['last']:.1f} %" if "test_accuracy" in one else ""
        lines.append(f"  {one['folder']}{tested}")
    numbers = ", ".join(f"{name} {value:g}" for name, value in found["numbers"].items())
    generations = f", generation {found['generations']}" if found["generations"] > 1 else ""
    return [
        *lines,
        "",
        f"Student: {record['settings']['network']}, {found['objective']}"
        + (f" ({numbers})" if numbers else "")
        + generations,
    ]


def _table(found: Mapping[str, Any]) -> list[str]:
    """Candidates with what each way of choosing says of them; of many, those that some way points to."""
    rows = found.get("candidates", [])
    if len(rows) < 2:
        return []
    shown = rows if len(rows) <= _ROWS else [row for row in rows if row["chosen_by"]]
    names = [name for name in ("held_out_accuracy", "changed_share", "agreement", "test_accuracy") if name in rows[0]]
    heads = {"held_out_accuracy": "held out", "changed_share": "changed", "test_accuracy": "test (an oracle)"}
    titles = [heads.get(name, name) for name in names]
    lines = ["  epoch" + "".join(f"  {title:>9}" for title in titles) + "  chosen by"]
    for row in shown:
        cells = "".join(
            f"  {100 * row[name]:>{max(9, len(t)) - 2}.1f} %" for name, t in zip(names, titles, strict=True)
        )
        lines.append(f"  {row['epoch']:>5}{cells}  {', '.join(row['chosen_by'])}".rstrip())
    if len(shown) < len(rows):
        lines.append(f"  ... of {len(rows)} epochs, all in run.json")
    silent = [f"{way} ({said['not']})" for way, said in found["choices"].items() if "not" in said]
    return [*lines, *([f"  Not said: {'; '.join(silent)}"] if silent else [])]
