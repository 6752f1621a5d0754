"""One figure per suite: each method's accuracy at the last, the hold-out's and the oracle's epoch, noise by noise."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.science.columns import COLUMNS, DEFAULT, END, HOLDOUT, ORACLE, Record, by_seed
from benchmarks.science.conditions import Key, Rows
from benchmarks.science.suite import Suite

# Okabe and Ito's colours, told apart by the colour-blind; shapes say the same once more.
_MARKS = {END: ("o", "#0072B2"), HOLDOUT: ("s", "#E69F00"), ORACLE: ("|", "#000000")}
_LABELS = {END: "last epoch", HOLDOUT: "noisy-hold-out epoch", ORACLE: "oracle epoch"}
_ACROSS = 3


def draw(suite: Suite, groups: dict[Key, Rows], stem: Path) -> list[Path]:
    """Draw the figure of a suite."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row.name for row in suite.rows if any(row.name in found for found in groups.values())]
    titles = [f"{row.name} †" if row.told else row.name for row in suite.rows if row.name in rows]
    across = min(_ACROSS, len(groups))
    down = -(-len(groups) // across)
    with mpl.rc_context({"svg.hashsalt": "science", "font.size": 8}):
        size = (2.0 + 2.6 * across, down * (0.9 + 0.19 * len(rows)))
        drawn, axes = plt.subplots(down, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
        for axis, (key, found) in zip(axes.flat, groups.items(), strict=False):
            _panel(axis, rows, titles, found)
            axis.set_title(", ".join(part for part in key if part != "given"), fontsize=9)
        for axis in axes.flat[len(groups) :]:
            axis.set_visible(False)
        drawn.supxlabel("test accuracy, %", fontsize=9)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=len(COLUMNS), frameon=False)
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png")]
        drawn.savefig(paths[0], metadata={"Date": None})
        drawn.savefig(paths[1], dpi=150)
        plt.close(drawn)
    return paths


def _panel(axis: Any, rows: list[str], titles: list[str], found: dict[str, list[Record]]) -> None:
    """Draw one condition; whiskers are one standard deviation over the seeds."""
    for column in COLUMNS:
        marker, colour = _MARKS[column]
        at, middle, width = [], [], []
        for place, name in enumerate(rows):
            values = [100 * value for value in by_seed(found.get(name, []), column).values()]
            if values:
                at.append(place)
                middle.append(mean(values))
                width.append(stdev(values) if len(values) > 1 else 0.0)
        whiskers = None if column == ORACLE else width
        style = {"fmt": marker, "color": colour, "ms": 8 if column == ORACLE else 4, "lw": 1, "label": _LABELS[column]}
        axis.errorbar(middle, at, xerr=whiskers, **style)
    for place, name in enumerate(rows):
        diverged = sum(bool(record["diverged"]) for record in found.get(name, []))
        if diverged:
            text = f"{diverged} of {len(found[name])} diverged"
            axis.text(0.99, place, text, transform=axis.get_yaxis_transform(), va="center", ha="right", fontsize=6)
    default = [100 * value for value in by_seed(found.get(DEFAULT, []), END).values()]
    if default:
        axis.axvline(mean(default), color=_MARKS[END][1], lw=0.8, ls=":", zorder=0)
    axis.set_yticks(range(len(rows)), titles)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
