"""From a run's findings to a data set one can train on, or to a file that other tools read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.files import atomic, json_text
from selfdistill._core.record import read_finished
from selfdistill.data._copy import check_new, labelled_cells, labelled_rows, write_refined
from selfdistill.data._place import STANDARD_INPUT, is_there
from selfdistill.data._read import find_form
from selfdistill.data.formats import BUILT_IN
from selfdistill.runs._decision_files import Decisions, chosen, read_held
from selfdistill.runs._label_table import SavedLabelTable, read_label_table


@dataclass(frozen=True)
class Refined:
    """What was written.

    Attributes:
        out: The file or folder.
        rows: Labelled rows that went into it.
        total: Labelled rows of the source.
        issues: Labels that are called wrong.
        changed: Labels that became another one.
        unreadable: Images that could not be read and are left out, as ``--skip-bad`` has it.
    """

    out: Path
    rows: int
    total: int
    issues: int
    changed: int
    unreadable: int = 0


def refine(run: Path, out: Path, *, how: str, decisions: Path | None = None) -> Refined:
    """Write the refined data set of a finished run to a new place, or its findings for another tool."""
    # "drop" leaves flagged rows out; "relabel" adds a column refined_label, which holds the given label where nothing
    # is flagged; "weight" adds label_weight, the probability that the given label is right. A column label_quality
    # stands beside either, where there is a place. Decisions take the place of what the run found; what nobody can say
    # is called wrong.
    if how not in {*_COPIES, *EXPORTS}:
        raise SettingError(f"{how!r} is no way to refine", f"Choose one of: {', '.join((*_COPIES, *EXPORTS))}.")
    found = read_label_table(run)
    if decisions is not None:
        found = decided_table(found, read_held(decisions, run, read_finished(run)))
    check_new(found.source, out)
    if how not in {"aum", "fiftyone"}:  # which do not look at it
        _check_source(run, found)
    if how in EXPORTS:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(out) as part:
            EXPORTS[how](found, part)
    else:
        _write(found, out, how)
    n, issues = len(found.ids), int(found.is_issue.sum())
    changed = int((found.relabelled != found.given).sum())
    unreadable = read_finished(run).data.counts.get("skipped_bad", 0)
    return Refined(out, n - issues if how == "drop" else n, n, issues, changed, unreadable)


def decided_table(found: SavedLabelTable, decisions: Decisions) -> SavedLabelTable:
    """Put what was decided in the place of what was found."""
    rows = np.array(sorted(decisions.labels), np.int64)
    labels = np.array([decisions.labels[row] for row in rows], object)
    wrong = found.given[rows] != labels
    new = {
        "refined": labels,
        "confidence": 1.0,
        "quality": 1.0 - wrong,
        "is_issue": wrong,
        "p_given": 1.0 - wrong,
        "p_other": 1.0 * wrong,
        "other": np.where(wrong, labels, found.other[rows]),
    }
    arrays = {name: getattr(found, name).copy() for name in new}
    for name, values in new.items():
        arrays[name][rows] = values
    arrays["is_issue"][list(decisions.unsure)] = True
    arrays["refined"][list(decisions.unsure)] = found.given[list(decisions.unsure)]
    return replace(found, **arrays)


def _write(found: SavedLabelTable, out: Path, how: str) -> None:
    if how == "drop":
        write_refined(found.source, found.options, out, keep=~found.is_issue)
    else:
        column = ("refined_label", found.relabelled) if how == "relabel" else ("label_weight", found.p_given)
        quality = ("label_quality", found.quality)
        write_refined(found.source, found.options, out, column=column, beside=quality)


def _check_source(run: Path, found: SavedLabelTable) -> None:
    """Refuse a source that is gone or no longer what the run was trained on: rows would go astray."""
    if found.source == STANDARD_INPUT:
        raise RunError(
            f"{run} was trained on standard input, which cannot be read again",
            "Save the data as a file, and train on that.",
        )
    if found.source not in BUILT_IN and not is_there(found.source):
        raise RunError(
            f"{found.source}, which {run} was trained on, does not exist",
            "Start this in the folder where `fit` was started.",
        )
    ids, labels = labelled_rows(found.source, found.options)
    if len(ids) != len(found.ids):
        what = f"it has {len(ids):,} labelled rows, the run had {len(found.ids):,}"
    else:
        differ = np.flatnonzero((ids != found.ids) | (labels != found.given))
        if not len(differ):
            return
        row = differ[0]
        what = (
            f"row {row} is {ids[row]!r} with label {labels[row]!r}, it was {found.ids[row]!r} with {found.given[row]!r}"
        )
    raise RunError(f"{found.source} has changed since {run} was trained on it: {what}", "Train on it again with `fit`.")


def _holds_images(source: str) -> bool:
    return is_there(source) and find_form(source) == "folder"


def _label_studio(found: SavedLabelTable, path: Path) -> None:
    """Write tasks with pre-annotations, the most doubtful first."""
    suggested = found.suggested
    sure = np.where(suggested == found.refined, found.confidence, found.p_other)
    cells = labelled_cells(found.source, found.options) or [{}] * len(found.ids)
    tasks: list[dict[str, Any]] = [
        {
            "data": cells[i]
            | {"id": found.ids[i], "given_label": found.given[i], "label_quality": float(found.quality[i])}
            | ({"image": found.ids[i]} if _holds_images(found.source) else {}),
            "predictions": [
                {"model_version": "selfdistill", "score": float(sure[i]), "result": chosen(i, suggested[i])}
            ],
        }
        for i in np.argsort(found.quality, kind="stable").tolist()
    ]
    path.write_text(json_text(tasks, indent=1) + "\n", encoding="utf-8")


def _aum(found: SavedLabelTable, path: Path) -> None:
    """Columns of the library ``aum``, highest first: margin of the given label over the best other, high = clean."""
    margin = found.p_given - found.p_other
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sample_id", "aum"])
        writer.writerows((found.ids[i], float(margin[i])) for i in np.argsort(-margin, kind="stable"))


def _fiftyone(found: SavedLabelTable, path: Path) -> None:
    """Fields by file path or id, for ``dataset.set_values(field, values, key_field=...)``; mistakenness: high = bad."""
    keys = found.ids.tolist()
    folder, images = Path(found.source), _holds_images(found.source)
    if images:
        from selfdistill.data.formats._folder import training_root

        keys = [str((training_root(folder) / key).absolute()) for key in keys]
    fields = {
        "mistakenness": dict(zip(keys, (1 - found.quality).tolist(), strict=True)),
        "refined_label": dict(zip(keys, found.relabelled.tolist(), strict=True)),
        "suggested_label": dict(zip(keys, found.suggested.tolist(), strict=True)),
        "is_label_issue": dict(zip(keys, found.is_issue.tolist(), strict=True)),
    }
    shown = {"key_field": "filepath" if images else "id", "fields": fields}
    path.write_text(json_text(shown, indent=1) + "\n", encoding="utf-8")


_COPIES = ("drop", "relabel", "weight")
EXPORTS: dict[str, Callable[[SavedLabelTable, Path], None]] = {
    "label-studio": _label_studio,
    "aum": _aum,
    "fiftyone": _fiftyone,
}
"""Forms for other tools, each a function of findings and a path."""
