"""What the estimator shows: lines while it trains, a summary, and in a notebook the report on the labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfdistill._core.events import EpochDone, Event, RunStarted, Stage
from selfdistill._core.read_options import ReadOptions
from selfdistill.issues._reliability import Applicability, percent
from selfdistill.issues._table import LabelTable
from selfdistill.runs._label_table import SavedLabelTable

_PAIRS = 3


class Progress:
    """Writes a line per epoch, or per stage of the closed form, to stderr."""

    def __init__(self) -> None:
        self.epochs, self.seconds = 0, [0.0]

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.epochs, self.seconds = event.epochs, []
        elif isinstance(event, Stage):
            sys.stderr.write(f"{event.text}\n")
        elif isinstance(event, EpochDone):
            metrics = event.metrics
            self.seconds.append(metrics.get("seconds", 0.0))
            left = (self.epochs - event.epoch - 1) * sum(self.seconds) / len(self.seconds)
            shares = ", ".join(
                f"{name} {metrics[name]:.1%}" for name in ("agreement", "refined_share") if name in metrics
            )
            loss = f"loss {metrics['loss']:.4f}, " if "loss" in metrics else ""
            sys.stderr.write(
                f"epoch {event.epoch + 1} of {self.epochs}: {loss}{shares.replace('_share', '')}"
                f"{f', about {left:.0f} s left' if left >= 1 else ''}\n"
            )


def summary_of(table: LabelTable, classes: Sequence[object], method: str, trust: Applicability) -> str:
    """Say in a few lines what was found."""
    n, wrong = len(table.given), table.is_issue
    pairs: dict[tuple[int, int], int] = {}
    for given, refined in zip(table.given[wrong].tolist(), table.refined[wrong].tolist(), strict=True):
        if given != refined:
            pairs[given, refined] = pairs.get((given, refined), 0) + 1
    often = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:_PAIRS]
    mistaken = ", ".join(f"{classes[a]} for {classes[b]} ({count:,})" for (a, b), count in often)
    lines = [f"{n:,} examples of {len(classes):,} classes, method {method}."]
    lines.append(f"{int(wrong.sum()):,} labels look wrong ({percent(float(wrong.mean()))}).")
    if mistaken:
        lines.append(f"Most often given: {mistaken}.")
    return "\n".join([*lines, *trust.sentences])


class Shown:
    """Adds the report to what scikit-learn shows; examples are named by their row."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        return bundle | {name: text + self._report() for name, text in bundle.items() if name == "text/html"}

    def _repr_html_inner(self) -> str:
        diagram: str = super()._repr_html_inner()  # type: ignore[misc]
        return diagram + self._report()

    def _report(self) -> str:
        """The report; nothing before `fit`, or where the findings were given up."""
        table: LabelTable | None = getattr(self, "label_table_", None)
        if table is None:
            return ""
        from selfdistill.report._content import Subject
        from selfdistill.report._report import Report

        trust, curves = getattr(self, "trust_", None), getattr(self, "curves_", None)
        return Report(
            Subject(
                name="Labels in memory",
                found=_findings(table, getattr(self, "classes_", ())),
                verdict=trust.verdict if trust else "",
                sentences=trust.sentences if trust else (),
                holds="",
                curves={} if curves is None else {str(name): curves[name].tolist() for name in curves},
                counts=table.noise.counts,
            )
        )._repr_html_()


def _findings(table: LabelTable, classes: Any) -> SavedLabelTable:
    names, rows = np.array([str(one) for one in classes], object), np.arange(len(table.given))
    others = np.array(table.distribution, np.float32)
    others[rows, table.given] = -1
    other = others.argmax(1)
    return SavedLabelTable(
        source="",
        options=ReadOptions(),
        classes=tuple(names),
        ids=np.array([f"row {row}" for row in rows], object),
        given=names[table.given],
        refined=names[table.refined],
        confidence=table.confidence,
        quality=table.quality,
        is_issue=table.is_issue,
        p_given=table.p_given,
        p_other=others[rows, other],
        other=names[other],
        first_learned=table.first_learned,
    )
