"""How the figures look: Okabe and Ito's colours, shapes and dashes that say the same in grey."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

BLACK, BLUE, ORANGE, RED, GREEN, GREY = "#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#7F7F7F"
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "axes.titlesize": 8,
    "svg.hashsalt": "claims",
    "lines.markersize": 3.5,
    "lines.linewidth": 1.2,
}


@contextmanager
def styled() -> Generator[None]:
    """Draw and write within this: fonts, spines and ids that come out the same each time."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        yield


def panels(columns: int, rows: int = 1, *, width: float = 2.4, height: float = 2.3, **more: Any) -> tuple[Any, Any]:
    """Make a figure of panels; axes as ``[rows, columns]``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def save(figure: Any, stem: Path) -> list[Path]:
    """Write a figure as SVG and PNG."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("svg", "png")]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=160)
    return paths


def band(axis: Any, x: Sequence[float], curves: Sequence[Sequence[float]], **style: Any) -> None:
    """Draw the mean of curves with the range of the seeds shaded."""
    middle = [mean(values) for values in zip(*curves, strict=True)]
    low, high = ([pick(values) for values in zip(*curves, strict=True)] for pick in (min, max))
    axis.plot(x, middle, **style)
    axis.fill_between(x, low, high, color=style.get("color"), alpha=0.18, linewidth=0)


def points(axis: Any, x: Sequence[float], values: Sequence[Sequence[float]], **style: Any) -> None:
    """Draw means with one standard deviation."""
    spread = [stdev(v) if len(v) > 1 else 0.0 for v in values]
    axis.errorbar(x, [mean(v) for v in values], spread, capsize=2, **style)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    return mean(values), stdev(values) if len(values) > 1 else 0.0
