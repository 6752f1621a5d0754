"""What the estimator tells while it trains, and a summary of what it found."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from selfdistill._core.events import EpochDone, Event, RunStarted, Stage
from selfdistill.issues._reliability import Applicability, percent
from selfdistill.issues._table import LabelTable

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
            told = ", ".join(
                f"{name} {metrics[name]:.1%}" for name in ("agreement", "refined_share") if name in metrics
            )
            loss = f"loss {metrics['loss']:.4f}, " if "loss" in metrics else ""
            sys.stderr.write(
                f"epoch {event.epoch + 1} of {self.epochs}: {loss}{told.replace('_share', '')}"
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
