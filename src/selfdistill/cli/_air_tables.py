"""What ``selfdistill air`` prints: three tables, and what they come to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.wording import clean, cleaned

if TYPE_CHECKING:
    from rich.table import Table

_CLEAN = {"truth": "true", "refined": "refined"}


def _percent(value: Any) -> str:
    """Write a share, or the range of one."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return f"{100 * value[0]:.1f}-{100 * value[1]:.1f} %"
    return f"{100 * value:.1f} %"


def print_study(record: dict[str, Any], folder: Path, seconds: float) -> None:
    """Print tables and sentences on stdout."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())
    record = cleaned(record)
    console.print(_energies(record))
    console.print(_kernels(record))
    console.print(_stops(record))
    for line in _sentences(record):
        console.print(line)
    console.print(
        f"{clean(str(folder))}/: air.json, spectrum, energy, retrieval and curves as .svg and .png ({seconds:.0f} s)"
    )


def _table(title: str, columns: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def _energies(record: dict[str, Any]) -> Table:
    kind = _CLEAN.get(str(record["data"]["clean_is"]))
    parts = [("clean", f"{kind} labels"), ("noise", "noise"), ("given", "given labels")]
    parts = [(part, name) for part, name in parts if part in record["moments"][0]["energy"]]
    table = _table(
        "Energy in the leading directions", ["", "directions", *(name for _, name in parts), "random labels"]
    )
    for found in record["moments"]:
        for i, k in enumerate(found["ranks"]):
            shares = [_percent(found["energy"][part][i]) for part, _ in parts]
            table.add_row(found["name"] if i == 0 else "", f"{k:,}", *shares, _percent(found["chance"][i]))
    return table


def _kernels(record: dict[str, Any]) -> Table:
    columns = ["", "alignment", "effective rank", "agreement", "accuracy", "drift"]
    table = _table("Kernel and network", columns)
    for found in record["moments"]:
        part = "clean" if "clean" in found["alignment"] else "given"
        rank = found["effective_rank"]["entropy"]
        table.add_row(
            found["name"],
            _number(found["alignment"][part]),
            _number(rank),
            _percent(found["agreement"]),
            _percent(found["accuracy"]),
            "-" if found["drift"] is None else _number(found["drift"]),
        )
    return table


def _number(value: float) -> str:
    return f"{value:.3g}"


_RULES = {
    "variance": "noise variance",
    "gcv": "cross-validation (GCV)",
    "left-out": "left-out agreement",
}


def _stops(record: dict[str, Any]) -> Table:
    columns = ["rule", "time", "epoch", "fitted", "agreement", "accuracy"]
    table = _table("When to stop, predicted", columns)
    for rule, found in record["stopping"].items():
        epoch, clock = _epoch(found["epoch"]), _epoch(found["epoch_by_clock"])
        accuracy = _percent(found.get("accuracy"))
        name = _RULES[rule] + (" *" if rule == record["stopping_rule"] else "")
        table.add_row(name, f"{found['time']:.3g}", epoch, clock, _percent(found["agreement"]), accuracy)
    return table


def _epoch(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _order(record: dict[str, Any]) -> list[str]:
    """Name the classes that are retrieved first and last."""
    found, classes = record["order"], record["data"]["classes"]
    times = zip(found.get("clean", found["given"])["classes"], classes, strict=True)
    ranked = sorted((time, name) for time, name in times if time is not None)
    if len(ranked) < 2:
        return []
    named = [f"{name} ({t:.2g})" for t, name in ranked]
    few = min(3, len(named) // 2)
    line = f"Classes retrieved first: {', '.join(named[:few])}; last: {', '.join(named[-few:])} (kernel time)."
    median = found.get("median")
    if median and median["right"] and median["wrong"]:
        factor = float(f"{median['wrong'] / median['right']:.2g}")
        line += f" A wrong label takes {factor:,g} times as long as a right one."
    return [line]


def _share(noise: dict[str, Any], clean_is: str | None) -> str:
    """Tell how many labels look wrong, or why that is unknown."""
    share, found = noise["wrong_share_range"], noise["found_share"]
    if share is not None:
        line = f"{_percent(share)} of the labels look wrong, by the energy in the last directions"
    elif noise["fall"] is None:
        line = "How many labels are wrong is unknown: that needs all directions, so leave --rank out"
    else:
        line = "How many labels are wrong is unknown: labels follow from the inputs even in the last directions"
    return f"{line}." if found is None else f"{line}; {_percent(found)} differ from the {_CLEAN[str(clean_is)]} ones."


def _sentences(record: dict[str, Any]) -> list[str]:
    clean_is, noise, at = record["data"]["clean_is"], record["noise"], record["at"]
    lines = []
    if clean_is == "refined":
        lines.append("No true labels are known: the run's refined labels stand in for them.")
    if clean_is is None:
        lines.append("No true labels are known: only the given ones are shown.")
    lines.append(_share(noise, clean_is))
    stop = record["stopping_epoch"]
    if stop is not None:
        lines.append(
            f"Stop after about {stop['epoch']:.1f} epochs, the median of the six estimates that need no true labels; "
            f"in 3 runs of 4 the best was within a range like {stop['earliest']:.1f} to {stop['latest']:.1f}."
        )
    scale = record["curves"]["scale"]
    if scale is not None:
        times = f"{scale['scale']:.2g} times as fast as its initial kernel predicts"
        lines.append(f"The run goes {times}; an epoch is where it reaches the predicted agreement (-: never).")
    lines += _order(record)
    line = f"At kernel time {at['time']:.3g}, {_percent(at['agreement'])} agreement"
    line += f" and {_percent(at['accuracy'])} accuracy" if "accuracy" in at else ""
    lines.append(f"{line} is predicted.")
    first = next(iter(record["spectrum"].values()))
    if len(first["values"]) < first["examples"]:
        known = f"{len(first['values']):,} of {first['examples']:,} directions"
        lines.append(f"Only {known} were computed, and the others count as never learned: raise --rank for curves.")
    return lines
