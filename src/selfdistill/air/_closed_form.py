"""What a run in closed form learned first: read from its record, drawn at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfdistill._core.errors import RunError
from selfdistill._core.files import atomic
from selfdistill.air._figures import BLUE, GREY, ORANGE, STYLE

__all__ = ["closed_lines", "save_closed_figure", "shares_learned"]

_ROWS = (1, 3, 10, 30, 100)
_LARGE = 1e100  # no number of a run


def shares_learned(spectrum: Mapping[str, Any]) -> np.ndarray:
    r"""Give the share of each direction that ridge regression learns: :math:`\Lambda_k / (\Lambda_k + \lambda)`.

    Args:
        spectrum: Of the record: ``eigenvalue`` and ``ridge`` are looked at.

    Returns:
        Between 0 and 1, falling, one for each direction shown.

    Example:
        >>> shares_learned({"eigenvalue": [3.0, 1.0], "ridge": 1.0}).tolist()
        [0.75, 0.5]
    """
    values = np.asarray(spectrum["eigenvalue"], float)
    return np.asarray(values / (values + spectrum["ridge"]))


def _spectrum(record: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        found = record["closed"]["spectrum"]
        shown = np.array([found[name] for name in ("eigenvalue", "given", "refined")])
        whole = all(type(found[name]) is int and found[name] >= 0 for name in ("directions", "stop"))
        numbers = shown.ndim == 2 and shown.dtype.kind in "if" and type(found["ridge"]) in {int, float}
        if whole and numbers and shown.size and found["ridge"] > 0 and bool((np.abs(shown) < _LARGE).all()):
            return dict(found)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError("the record has no spectrum of the closed form", "Run `fit` again.") from error
    raise RunError("the record's spectrum of the closed form is damaged", "Run `fit` again.")


def closed_lines(record: Mapping[str, Any]) -> list[str]:
    """Say how much of given and refined labels lies in the leading directions, and where round 1 stopped.

    Args:
        record: Of a run in closed form.

    Returns:
        Lines of text.
    """
    s = _spectrum(record)
    given, refined, learned = np.cumsum(s["given"]), np.cumsum(s["refined"]), shares_learned(s)
    rows = [k for k in _ROWS if k <= len(given)]
    lines = [
        f"Kernel {record['closed']['kernel']}, {s['directions']:,} directions, learned in this order",
        f"  {'leading':>10}  {'given labels':>12}  {'refined labels':>14}  {'learned in round 1':>18}",
    ]
    lines += [
        f"  {k:>10,}  {given[k - 1]:>12.1%}  {refined[k - 1]:>14.1%}  {learned[k - 1]:>18.1%}".replace("%", " %")
        for k in rows
    ]
    return [
        *lines,
        f"Round 1 stopped at direction {s['stop']:,}: those before are learned by more than half, those after by less",
    ]


def save_closed_figure(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Draw the energy of labels over the directions, and what round 1 learned of each.

    Args:
        folder: Where ``directions.svg`` and ``directions.png`` go.
        record: Of a run in closed form.

    Returns:
        The files.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    s = _spectrum(record)
    rank = np.arange(1, len(s["given"]) + 1)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.7), layout="constrained")
        axes = figure.subplots()
        axes.plot(rank, np.cumsum(s["refined"]), color=BLUE, label="refined labels")
        axes.plot(rank, np.cumsum(s["given"]), color=ORANGE, linestyle="-.", label="given labels")
        axes.plot(rank, shares_learned(s), color=GREY, linestyle=":", label="learned in round 1")
        if 1 <= s["stop"] <= len(rank):
            axes.axvline(s["stop"], color=GREY, linewidth=0.8)
            axes.annotate("stop", (s["stop"], 0.02), xytext=(3, 0), textcoords="offset points", color=GREY, fontsize=7)
        axes.set(xscale="log", ylim=(0, 1.02), xlabel="direction, in the order of learning", ylabel="share")
        axes.legend(loc="best")
        files = []
        for ending in ("svg", "png"):
            path = folder / f"directions.{ending}"
            with atomic(path) as part:
                figure.savefig(part, format=ending, dpi=300, metadata={"Date": None} if ending == "svg" else None)
            files.append(path)
    return files
