"""What stands in a report: taken from the findings, in the words of a reader who did not see the run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill._core.record import read_finished, reading_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.wording import quoted
from selfdistill.air._figures import closed_spectrum, shares_learned
from selfdistill.issues._reliability import precision
from selfdistill.report._charts import Line, histogram, lines, matrix
from selfdistill.runs._decision_files import Decisions, decided_since
from selfdistill.runs._decisions import journal_path
from selfdistill.runs._examples import Cell, Examples, open_examples
from selfdistill.runs._label_table import SavedLabelTable, read_findings
from selfdistill.runs._refine import decided_table
from selfdistill.runs._verdict import still_holds

_SIDE = 160  # pixels of a thumbnail
_SHOWN = {"image": (24, 8, 6), "text": (12, 8, 2), "table": (12, 8, 2), "vector": (20, 0, 0)}
"""By kind: doubtful examples, pairs of classes, and examples of each pair."""
_MATRIX = 25  # classes of a matrix
_CLASSES = 60  # rows of the table of classes
_LETTERS = 280
_CELLS = 8


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is about."""

    name: str  # of the data
    found: SavedLabelTable
    verdict: str  # "trust", "except", "refuse", or "" where nothing was judged
    sentences: tuple[str, ...]  # of the reliability check
    holds: str  # what can be used where it says not to trust them, or ""
    curves: Mapping[str, Sequence[float]]  # of the training, by name
    counts: np.ndarray | None = None  # estimated, ``[true, given]``; ``None``: those of the refined labels are shown
    record: RunRecord | None = None  # of the run, where there is one
    folder: Path | None = None  # of the run
    examples: Examples | None = None  # its single examples
    decisions: Decisions | None = None  # what a person decided; ``found`` has these labels already
    flagged: np.ndarray | None = (
        None  # labels that the run called wrong before, bool ``[n]``; ``None``: as in ``found``
    )

    @classmethod
    def of_run(cls, folder: Path) -> Subject:
        """Take a finished run."""
        record, found = read_finished(folder), read_findings(folder)
        noise = record.result.estimated_noise if record.result else None
        counts = noise.counts_true_given if noise else None
        decisions, flagged = decided_since(folder, record), found.is_issue
        if decisions is not None:
            found = decided_table(found, decisions)
        return cls(
            name=Path(record.data.source).name if record.data.source else "Digits, 40 % of the labels flipped",
            found=found,
            verdict=record.trust.verdict if record.trust else "",
            sentences=tuple(record.trust.sentences) if record.trust else (),
            holds=still_holds(record),
            curves=record.curves,
            counts=None if counts is None else _square(counts, len(found.classes), folder),
            record=record,
            folder=folder,
            examples=open_examples(folder),
            decisions=decisions,
            flagged=flagged,
        )

    def doubtful(self, most: int) -> list[int]:
        """Give the positions of the most doubtful examples that nobody has reviewed, the most doubtful first."""
        order = np.argsort(self.found.quality, kind="stable")
        return [int(row) for row in order[self._open[order]][:most]]

    @property
    def _open(self) -> np.ndarray:
        mask = np.ones(len(self.found.ids), bool)
        if self.decisions is not None:
            mask[[*self.decisions.labels, *self.decisions.unsure]] = False
        return mask

    def reviewed(self) -> dict[str, Any]:
        """Count what was reviewed, and how many of the flagged labels among it were wrong."""
        if self.decisions is None or self._open.all():
            return {}
        rows = np.array(list(self.decisions.labels), np.int64)
        wrong = self.found.is_issue[rows]
        flagged = (self.found.is_issue if self.flagged is None else self.flagged)[rows]
        seen, hits = int(flagged.sum()), int((flagged & wrong).sum())
        return {
            "count": len(rows),
            "wrong": int(wrong.sum()),
            "unsure": len(self.decisions.unsure),
            "seen": seen,
            "hits": hits,
            "precision": precision(hits, seen),
        }


def _square(counts: list[list[float]], k: int, folder: Path) -> np.ndarray:
    """Counts as a matrix ``[k, k]``, 0 or more."""
    with reading_record(folder):
        matrix_of_counts = np.array(counts, float).reshape(k, k)
        if matrix_of_counts.min() < 0:
            raise ValueError("counts below 0")
        return matrix_of_counts


@dataclass(frozen=True)
class Card:
    """One example."""

    name: str  # of its file or row
    given: str  # its label
    other: str  # the likeliest other label
    better: bool  # whether that is likelier than the given one
    chance: float  # probability of ``other``
    quality: float  # label quality
    image: str = ""  # a data URI, or ""
    text: str = ""  # its text, cut
    letters: int = 0  # how many letters the text has in full; 0 where it was not cut
    cells: tuple[Cell, ...] = ()  # unusual cells first, at most eight
    more: int = 0  # cells that are not shown
    problem: str = ""  # why there is no picture


def cards(
    found: SavedLabelTable, examples: Examples | None, rows: Sequence[int], most: int = _CELLS, *, draw: bool = True
) -> list[Card]:
    """Show examples."""
    out = []
    for row in rows:
        image = problem = text = ""
        cells: list[Cell] = []
        if examples is not None and examples.kind == "image" and draw:
            try:
                data = examples.thumbnail(row, _SIDE)
                kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
                image = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
            except DataError as error:
                problem = str(error)
        elif examples is not None:
            text = " ".join(examples.text(row).split())
            cells = sorted(examples.cells(row), key=lambda cell: not cell[2])
        out.append(
            Card(
                name=str(found.ids[row]),
                given=str(found.given[row]),
                other=str(found.other[row]),
                better=bool(found.refined[row] != found.given[row]),
                chance=float(found.p_other[row]),
                quality=float(found.quality[row]),
                image=image,
                text=text if len(text) <= _LETTERS else text[:_LETTERS] + "…",
                letters=len(text) if len(text) > _LETTERS else 0,
                cells=tuple((name, value[:60], unusual) for name, value, unusual in cells[:most]),
                more=max(0, len(cells) - most),
                problem=problem,
            )
        )
    return out


def content(subject: Subject) -> dict[str, Any]:
    """Gather what the page shows."""
    found, kind = subject.found, subject.examples.kind if subject.examples else "vector"
    first, pairs, each = _SHOWN[kind]
    order = np.argsort(found.quality, kind="stable")
    flagged = int(found.is_issue.sum())
    first_cards = cards(found, subject.examples, subject.doubtful(first))
    return {
        "name": subject.name,
        "kind": kind,
        "n": len(found.ids),
        "classes": len(found.classes),
        "flagged": flagged,
        "reviewed": subject.reviewed(),
        "share": flagged / len(found.ids),
        "record": subject.record,
        "folder": None if subject.folder is None else quoted(subject.folder),
        "verdict": subject.verdict,
        "sentences": [_without_verdict(sentence) for sentence in subject.sentences],
        "holds": subject.holds,
        "range": _range(subject.record),
        "missing": subject.examples.missing if subject.examples else "",
        "doubtful": first_cards,
        "marked": any(unusual for card in first_cards for _, _, unusual in card.cells),
        "pairs": _pairs(subject, order, pairs, each),
        "unknown": int((found.is_issue & (found.refined == found.given)).sum()),
        "matrix": _matrix(subject),
        "by_class": _by_class(found),
        "histogram": histogram(found.quality, found.is_issue),
        "learned": _learned(subject),
        "curves": _curves(subject.curves),
        "steps": _steps(subject),
    }


def _without_verdict(sentence: str) -> str:
    """Leave out of a sentence of the reliability check the verdict, which stands above it."""
    rest = sentence.removeprefix("Do not trust this: ").removeprefix("Trust this: ")
    return rest[0].upper() + rest[1:]


def _range(record: RunRecord | None) -> tuple[int, int, int] | None:
    """Least, expected and most wrong labels, where a run tells."""
    noise = record.result.estimated_noise if record and record.result else None
    if record is None or noise is None or not record.closed or not record.closed.plausible_wrong:
        return None
    low, high = record.closed.plausible_wrong
    return round(low), round(noise.expected_wrong), round(high)


def _pairs(subject: Subject, order: np.ndarray, most: int, each: int) -> list[dict[str, Any]]:
    """Pairs of classes that are confused most, each with its most doubtful examples."""
    found = subject.found
    doubted = order[found.is_issue[order]]
    rows: dict[tuple[str, str], list[int]] = {}
    for row in doubted.tolist():
        rows.setdefault((str(found.given[row]), str(found.other[row])), []).append(row)
    largest = sorted(rows.items(), key=lambda item: -len(item[1]))[: most or 8]
    return [
        {"given": a, "other": b, "count": len(some), "cards": cards(found, subject.examples, some[:each], 3)}
        for (a, b), some in largest
    ]


def _matrix(subject: Subject) -> dict[str, Any]:
    """The noise matrix, of the classes that lose most labels to others where there are many."""
    found, counts = subject.found, subject.counts
    place = {name: k for k, name in enumerate(found.classes)}
    k = len(found.classes)
    if counts is None and k <= 1000:
        counts = np.zeros((k, k))
        np.add.at(counts, ([place[one] for one in found.refined], [place[one] for one in found.given]), 1)
    if counts is None:
        return {}
    wrong = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:_MATRIX])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)
    names = [found.classes[one] for one in chosen]
    return {"picture": matrix(shares[np.ix_(chosen, chosen)], names), "shown": len(chosen), "of": k}


def _by_class(found: SavedLabelTable) -> dict[str, Any]:
    """For each class how many labels it has and how many of them look wrong; the most doubtful classes first."""
    names, codes = np.unique(found.given, return_inverse=True)
    counts, wrong = np.bincount(codes), np.bincount(codes, weights=found.is_issue)
    order = np.argsort(-wrong / counts, kind="stable")
    rows = [(str(names[i]), int(counts[i]), int(wrong[i]), float(wrong[i] / counts[i])) for i in order[:_CLASSES]]
    return {"rows": rows, "rest": len(names) - len(rows)}


def _learned(subject: Subject) -> dict[str, Any]:
    """What was learned first: labels over the epochs, or directions of a kernel."""
    closed = subject.record.closed if subject.record else None
    if closed is not None and subject.record is not None:
        return _directions(closed_spectrum(subject.record.as_json()))
    found, epochs = subject.found, len(subject.curves.get("loss", ()))
    groups = {"right": ~found.is_issue, "wrong": found.is_issue}
    if epochs < 2 or found.first_learned.max(initial=-1) < 0 or not all(mask.any() for mask in groups.values()):
        return {}
    names = {"right": "labels that look right", "wrong": "labels that look wrong"}
    steps, curves = range(1, epochs + 1), []
    for style, mask in groups.items():
        first = found.first_learned[mask]
        shares = [float(((first >= 0) & (first < done)).mean()) for done in steps]
        curves.append(Line(names[style], list(steps), shares, style))
    half = next((done for done, share in zip(steps, curves[0].y, strict=True) if share >= 0.5), None)
    sentence = f"Half of the labels that look right were predicted by epoch {half}. " if half else ""
    wrong = f"{curves[1].y[(half or epochs) - 1]:.0%}".replace("%", "\u00a0%")
    sentence += f"Of those that look wrong, {wrong} were by then"
    return {"picture": lines(curves, "epoch"), "lines": curves, "says": f"{sentence}."}


def _directions(spectrum: Mapping[str, Any]) -> dict[str, Any]:
    given, refined = (np.cumsum(spectrum[name]) for name in ("given", "refined"))
    rank, stop = list(range(1, len(given) + 1)), spectrum["stop"]
    curves = [
        Line("refined labels", rank, refined.tolist(), "right"),
        Line("given labels", rank, given.tolist(), "wrong"),
        Line("learned in round 1", rank, shares_learned(spectrum).tolist(), "other"),
    ]
    mark = (float(stop), "stop") if 1 <= stop <= len(rank) else None
    at = min(max(stop, 1), len(rank)) - 1
    says = (
        f"The first {at + 1:,} directions of the kernel hold {refined[at]:.0%} of the refined labels, but "
        f"{given[at]:.0%} of the given ones: what many examples share is learned first, and wrong labels lie in what "
        "comes later."
    ).replace("%", "\u00a0%")
    picture = lines(curves, "direction, in the order of learning", log=True, mark=mark)
    return {"picture": picture, "lines": curves, "says": says}


def _curves(curves: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Shares over the epochs, and the loss."""
    epochs = list(range(1, len(curves.get("loss", ())) + 1))
    if len(epochs) < 2:
        return []
    shares = [
        Line("predictions equal to the given label", epochs, curves["agreement"], "right"),
        Line("refined labels that differ from the given ones", epochs, curves["refined_share"], "wrong"),
    ]
    shares += [
        Line(f"{name.removesuffix('_accuracy')} accuracy", epochs, values, "other")
        for name, values in curves.items()
        if name.endswith("_accuracy")
    ]
    first = curves["loss"][0]
    loss = [Line("in per cent of the first epoch", epochs, [100 * one / first for one in curves["loss"]], "right")]
    return [
        {"picture": lines(shares, "epoch"), "lines": shares},
        *([{"picture": lines(loss, "epoch", share=False), "lines": loss}] if first > 0 else []),
    ]


def _steps(subject: Subject) -> list[tuple[str, str]]:
    """What to do next, each with its command."""
    if subject.folder is None or subject.record is None:
        return []
    run, source = quoted(subject.folder), subject.record.data.source
    steps = [("See the most doubtful examples in the terminal", f"selfdistill show {run}")]
    steps.append(("Review them by keyboard", f"selfdistill review {run}"))
    if source:
        ending = Path(source).suffix if Path(source).suffix in {".csv", ".parquet", ".npz"} else ""
        out = f"refined{ending}" if ending else "refined.npz" if subject.examples is None else "refined"
        held = ""
        if subject.decisions is not None:
            place = journal_path(subject.folder)
            held = f" --decisions {quoted(place if place.is_file() else subject.record.data.decisions or '')}"
        steps.append(("Write the data with corrected labels", f"selfdistill refine {run} --relabel{held} --out {out}"))
    else:
        steps.append(("Find the errors in your own labels", "selfdistill fit DATA --label COLUMN"))
    return [*steps, ("Label new data", f"selfdistill predict {run} NEW")]
