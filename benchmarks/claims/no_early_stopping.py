"""Claim 5: self-distillation gains more than early stopping does, and needs no early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims import figure
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.problems import draw as draw_problem
from benchmarks.claims.trainings import trained

METHODS = {"selfdistill": "the default", "dong-3": "the authors' loss 3"}
RIVAL = "cross-entropy"
MARGIN = 0.0
DROP = 0.01


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Train each method and cross-entropy for each length."""
    problem = draw_problem(settings, seed, folder)
    numbers: dict[str, float] = {}
    curves: dict[str, Any] = {}
    for times in settings["lengths"]:
        for method in (RIVAL, *METHODS):
            outcome = trained(problem, method, settings["network"], settings["epochs"] * times, seed)
            curve = outcome.curve("test")
            numbers |= {
                f"{method} x{times}: last": outcome.last,
                f"{method} x{times}: oracle": max(curve),
                f"{method} x{times}: choice": outcome.at_best("choice"),
                f"{method} x{times}: hold-out": outcome.at_best("holdout"),
            }
            curves[f"{method} x{times}"] = [round(v, 4) for v in curve]
    for method in METHODS:
        numbers[f"{method}: lead"] = numbers[f"{method} x1: last"] - numbers[f"{RIVAL} x1: oracle"]
    for method in (RIVAL, *METHODS):
        own = numbers[f"{method} x1: last"]
        numbers[f"{method}: peak over last"] = numbers[f"{method} x1: oracle"] - own
        for times in settings["lengths"][1:]:
            numbers[f"{method}: drop x{times}"] = own - numbers[f"{method} x{times}: last"]
    return Measured(numbers, curves)


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge both methods on each data set and network."""
    found = []
    for method, words in METHODS.items():
        for part in parts:
            s = part.settings
            longer = tuple(
                Check(f"{method}: drop x{t}", "<=", DROP, f"trained {t} times as long it loses at most a point")
                for t in s["lengths"][1:]
            )
            lead = Check(
                f"{method}: lead",
                ">=",
                MARGIN,
                "its last epoch is not below cross-entropy's best epoch on the test set itself",
            )
            shown = (
                ("its last epoch", f"{method} x1: last"),
                ("its best epoch over its last", f"{method}: peak over last"),
                ("cross-entropy: last", f"{RIVAL} x1: last"),
                ("cross-entropy: oracle", f"{RIVAL} x1: oracle"),
                ("cross-entropy: noisy hold-out", f"{RIVAL} x1: hold-out"),
                *((f"cross-entropy: loss when {t} times as long", f"{RIVAL}: drop x{t}") for t in s["lengths"][1:]),
            )
            where = f"{s['data']}, {s['noise']}, {s['network']}"
            found.append(Condition(f"{words} ({where})", part.name, (lead, *longer), shown))
    return tuple(found)


_LOOK = {RIVAL: (figure.BLACK, "-"), "selfdistill": (figure.BLUE, "--"), "dong-3": (figure.RED, "-.")}


def draw(rows: Rows) -> Any:
    """Draw test accuracy over the epochs, once and longer."""
    have = {name: records for name, records in rows.items() if records}
    across = min(3, len(have))
    drawn, axes = figure.panels(across, -(-len(have) // across), width=2.8, height=2.3)
    for axis, (name, records) in zip(axes.flat, have.items(), strict=False):
        settings = records[0]["settings"]
        for times in settings["lengths"]:
            for method, (colour, dash) in _LOOK.items():
                curves = [[100 * v for v in r["curves"][f"{method} x{times}"]] for r in records]
                at = [(i + 1) / settings["epochs"] for i in range(len(curves[0]))]
                label = METHODS.get(method, method) if times == 1 else None
                figure.band(axis, at, curves, color=colour, ls=dash, label=label, lw=0.6 + 0.8 / times)
        best = [100 * r["numbers"][f"{RIVAL} x1: oracle"] for r in records]
        axis.axhline(sum(best) / len(best), color=figure.GREY, ls=":", lw=1, label="cross-entropy's oracle epoch")
        axis.set(xscale="log", xlabel="epochs, in lengths of the first training", title=name)
    for axis in axes.flat[len(have) :]:
        axis.set_visible(False)
    axes[0][0].set_ylabel("test accuracy (%)")
    drawn.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def _part(data: str, network: str, noise: str, examples: int, epochs: int, lengths: list[int]) -> Part:
    settings = {"data": data, "network": network, "noise": noise, "examples": examples}
    name = f"{data}-{noise}-{network.replace(':', '-').replace(',', '-')}"
    needs = ("fashion",) if data == "fashion" else ()
    return Part(name, settings | {"epochs": epochs, "lengths": lengths}, needs)


CLAIM = Claim(
    name="no_early_stopping",
    title="More than early stopping, and no early stopping",
    statement="Self-distillation tests better than early stopping, and entirely avoids early stopping.",
    standing="Abstract (empirical claim). That longer training must do no harm is our reading of it. "
    "Data, networks and criterion are "
    "ours; the authors' tables were not at hand. Loss 3 is the authors' published code, the default is this package's "
    "own method.",
    method="The default and the authors' loss 3 at their last epoch against cross-entropy at its best epoch, chosen on "
    "the test set itself, which favours cross-entropy; then all of them trained longer with the same settings. "
    "Symmetric noise turns 40 or 20 % of the labels into other classes.",
    full=(
        _part("digits", "mlp:256,256", "symmetric-40", 1000, 30, [1, 2, 10]),
        _part("digits", "cnn:16,32", "symmetric-40", 1000, 30, [1, 2, 10]),
        _part("digits", "mlp:256,256", "symmetric-20", 1000, 30, [1, 2, 10]),
        _part("fashion", "mlp:512,512", "symmetric-40", 6000, 20, [1, 2]),
        _part("fashion", "cnn:16,32", "symmetric-40", 6000, 12, [1, 2]),
    ),
    small=(
        _part("digits", "mlp:128", "symmetric-40", 500, 25, [1, 2]),
        _part("digits", "mlp:128,128", "symmetric-40", 500, 25, [1, 2]),
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="Test accuracy over the training, in lengths of the first training; thinner lines are trained longer. "
    "Grey: cross-entropy's best epoch. Bands: range of the seeds.",
    notes="A training of another length is another training: its learning rate rises and falls over its own length.",
)
