"""Figures of a study and of a run in closed form, as SVG and PNG for a paper, drawn from the record alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfdistill._core.errors import RunError
from selfdistill._core.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by colour-blind eyes; each line has a style of its own too, for print in grey.
_BLACK, _ORANGE, _SKY, _GREEN, _BLUE, _RED = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
_GREY = "#7F7F7F"
_ROWS = (1, 3, 10, 30, 100)
_LARGE = 1e100  # no number of a run
_LINES = {
    "clean": (_BLUE, "-"),
    "noise": (_RED, "--"),
    "given": (_ORANGE, "-."),
    "random": (_GREY, ":"),
    "white": (_GREY, ":"),
}
_WIDTH, _HEIGHT, _DPI = 3.4, 2.6, 300  # inches: one column of a two-column page
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "selfdistill",
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.borderpad": 0.2,
    "legend.labelspacing": 0.35,
    "legend.handlelength": 2.2,
}


def _line(axes: Axes, x: Sequence[float], shares: Sequence[float], label: str, color: str, style: str) -> None:
    axes.plot(x, 100 * np.array(shares), color=color, linestyle=style, label=label)


def _clean(record: Mapping[str, Any]) -> str:
    return {"truth": "true labels", "refined": "refined labels"}.get(str(record["data"]["clean_is"]), "")


def _names(record: Mapping[str, Any]) -> dict[str, str]:
    return {"clean": _clean(record), "noise": "noise", "given": "given labels"}


def _spectrum(axes: Axes, record: Mapping[str, Any]) -> None:
    ends, floor = _ends(record["spectrum"]), 1.0
    for (name, found), (color, style) in zip(ends, ((_BLUE, "-"), (_RED, "--")), strict=False):
        share = np.maximum(np.array(found["values"]) / found["trace"], 1e-12)
        axes.plot(np.arange(1, len(share) + 1), share, color=color, linestyle=style, label=name)
        floor = min(floor, float(share[int(0.98 * (len(share) - 1))]))  # the last few are rounding
    axes.set(xscale="log", yscale="log", xlabel="rank $i$", ylabel=r"eigenvalue $\lambda_i$ / trace")
    axes.set_ylim(bottom=max(floor / 3, 1e-9))
    axes.legend(loc="lower left")


def _ends(moments: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """First and last moment."""
    listed = list(moments.items())
    return listed if len(listed) == 1 else [listed[0], listed[-1]]


def _energy(axes: Axes, record: Mapping[str, Any]) -> None:
    names = _names(record)
    ends = _ends(record["energy"])
    for position, (moment, found) in enumerate(ends):
        x = found["rank"]
        for part in ("clean", "noise") if "clean" in found else ("given",):
            if part not in found:
                continue
            color, _ = _LINES[part]
            short = names[part].removesuffix(" labels")
            label = f"{short}, {moment}" if len(ends) > 1 else short
            _line(axes, x, found[part], label, color, "-" if position == len(ends) - 1 else "--")
    found = ends[-1][1]
    x, color = found["rank"], _LINES["random"][0]
    axes.plot(x, 100 * np.array(found["random_expected"]), color=color, linestyle=":", label="random")
    low, high = 100 * np.array(found["random_low"]), 100 * np.array(found["random_high"])
    axes.fill_between(x, low, high, color=color, alpha=0.25, linewidth=0)
    axes.set(xscale="log", xlabel="leading directions $k$", ylabel="energy captured $E_k$ (%)", ylim=(0, 100))
    axes.legend(loc="upper left")


def _retrieval(axes: Axes, record: Mapping[str, Any]) -> None:
    found, names = record["retrieval"], _names(record) | {"white": "random labels"}
    for part in ("clean", "noise", "white") if "clean" in found else ("given", "white"):
        if part in found:
            _line(axes, found["time"], found[part], names[part], *_LINES[part])
    stop = record["stopping"][record["stopping_rule"]]["time"]
    axes.axvline(stop, color=_GREEN, linewidth=1.0)
    _mark(axes, stop, "stop")
    axes.set(xscale="log", xlabel=_TIME, ylabel="retrieved $R_t$ (%)", ylim=(0, 103))
    _span(axes, found["time"], found["white"], stop)
    axes.legend(loc="upper left")


_TIME = r"kernel time $t$ (learning rate $\times$ steps)"


def _mark(axes: Axes, x: float, text: str) -> None:
    """Name a vertical line at the upper end of the frame, where no curve is."""
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        color=_GREEN,
    )


def _span(axes: Axes, times: Sequence[float], last: Sequence[float], stop: float) -> None:
    """Leave out late times at which nothing more happens, never that of the stop."""
    done = int(np.flatnonzero(np.array(last) >= 0.99 * max(last))[0])
    axes.set_xlim(times[0], max(times[min(done + 2, len(times) - 1)], 3 * stop))


def _curves(axes: Axes, record: Mapping[str, Any]) -> None:
    found, stop = record["curves"], record["stopping"][record["stopping_rule"]]
    times, measured = found["time"], found.get("measured")
    _line(axes, times, found["agreement"], "given, predicted", _ORANGE, "-")
    if found["accuracy"] is not None:
        label = f"{_clean(record).removesuffix(' labels')}, predicted"
        _line(axes, times, found["accuracy"], label, _BLUE, "--")
    axes.axvline(stop["time"], color=_GREEN, linewidth=1.0)
    _mark(axes, stop["time"], "stop")
    if measured is not None:
        _measured(axes, record, stop)
    axes.set(xscale="log", xlabel=_TIME, ylabel="agreement with labels (%)", ylim=(0, 103))
    _span(axes, times, found["agreement"], stop["time"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=2, columnspacing=1.0, fontsize=6.5)


def _measured(axes: Axes, record: Mapping[str, Any], stop: Mapping[str, Any]) -> None:
    """Lay the run's curves beside the predicted ones, its time multiplied by the one factor that was fitted."""
    found = record["curves"]
    scale, measured = found["scale"]["scale"], found["measured"]
    at = np.array(measured["time"]) * scale
    kept = at >= found["time"][0]
    dots: dict[str, Any] = {"markersize": 2.6, "linestyle": "none"}
    label = rf"given, measured ($t \times {scale:.2g}$)"
    axes.plot(at[kept], 100 * np.array(measured["agreement"])[kept], marker="o", color=_BLACK, label=label, **dots)
    if "test_accuracy" in measured:
        ends, share = scale * np.array(measured["end_time"]), 100 * np.array(measured["test_accuracy"])
        axes.plot(ends, share, marker="^", color=_SKY, markerfacecolor="none", label="test, measured", **dots)
    if stop["epoch"] is not None:
        level = 100 * stop["agreement"]
        x = float(np.interp(stop["epoch"], measured["epoch"], at))
        axes.plot([x, stop["time"]], [level, level], color=_GREEN, linestyle=":", linewidth=1.0)
        axes.plot([x], [level], marker="D", color=_GREEN, markersize=4, linestyle="none")
        axes.annotate(
            f"epoch {stop['epoch']:.1f}", (x, level), (-3, 5), textcoords="offset points", ha="right", fontsize=7,
            color=_GREEN,
        )  # fmt: skip


FIGURES: Mapping[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "spectrum": _spectrum,
    "energy": _energy,
    "retrieval": _retrieval,
    "curves": _curves,
}
"""What can be drawn, by file name."""


def draw(name: str, record: Mapping[str, Any]) -> Figure:
    """Draw one figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT + (0.45 if name == "curves" else 0.0)), layout="constrained")
        axes = figure.add_subplot()
        axes.tick_params(width=0.6, length=2.5)
        axes.tick_params(which="minor", width=0.4, length=1.5)
        FIGURES[name](axes, record)
    return figure


def save_figures(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Draw all figures of what ``air.json`` holds, each as SVG (text stays text) and PNG (300 dots per inch)."""
    return [path for name in FIGURES for path in _saved(draw(name, record), folder, name)]


def _saved(figure: Figure, folder: Path, name: str) -> list[Path]:
    import matplotlib as mpl

    files = []
    for ending in ("svg", "png"):
        path = folder / f"{name}.{ending}"
        with atomic(path) as part, mpl.rc_context(_STYLE):
            metadata = {"Date": None} if ending == "svg" else None
            figure.savefig(part, format=ending, dpi=_DPI, metadata=metadata)
        files.append(path)
    return files


def shares_learned(spectrum: Mapping[str, Any]) -> np.ndarray:
    r"""Give the share of each direction that ridge regression learns: :math:`\Lambda_k / (\Lambda_k + \lambda)`."""
    values = np.asarray(spectrum["eigenvalue"], float)
    return np.asarray(values / (values + spectrum["ridge"]))


def closed_spectrum(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the spectrum that the record of a run in closed form holds, checked."""
    try:
        spectrum = record["closed"]["spectrum"]
        columns = np.array([spectrum[name] for name in ("eigenvalue", "given", "refined")])
        whole = all(type(spectrum[name]) is int and spectrum[name] >= 0 for name in ("directions", "stop"))
        numbers = columns.ndim == 2 and columns.dtype.kind in "if" and type(spectrum["ridge"]) in {int, float}
        if whole and numbers and columns.size and spectrum["ridge"] > 0 and bool((np.abs(columns) < _LARGE).all()):
            return dict(spectrum)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError("the record has no spectrum of the closed form", "Run `fit` again.") from error
    raise RunError("the record's spectrum of the closed form is damaged", "Run `fit` again.")


def closed_lines(record: Mapping[str, Any]) -> list[str]:
    """Say how much of given and refined labels lies in the leading directions, and where round 1 stopped."""
    s = closed_spectrum(record)
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
    """Draw the energy of labels over the directions, and what round 1 learned of each, as SVG and PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    s = closed_spectrum(record)
    rank = np.arange(1, len(s["given"]) + 1)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 2.7), layout="constrained")
        axes = figure.subplots()
        axes.plot(rank, np.cumsum(s["refined"]), color=_BLUE, label="refined labels")
        axes.plot(rank, np.cumsum(s["given"]), color=_ORANGE, linestyle="-.", label="given labels")
        axes.plot(rank, shares_learned(s), color=_GREY, linestyle=":", label="learned in round 1")
        if 1 <= s["stop"] <= len(rank):
            axes.axvline(s["stop"], color=_GREY, linewidth=0.8)
            axes.annotate("stop", (s["stop"], 0.02), xytext=(3, 0), textcoords="offset points", color=_GREY, fontsize=7)
        axes.set(xscale="log", ylim=(0, 1.02), xlabel="direction, in the order of learning", ylabel="share")
        axes.legend(loc="best")
    return _saved(figure, folder, "directions")
