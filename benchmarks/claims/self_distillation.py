"""Claim 3: self-distillation refines noisy labels without memorising them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.claims import figure, threshold
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.problems import draw as draw_problem
from benchmarks.claims.trainings import memory_of, trained

METHODS = ("cross-entropy", "selfdistill", "dong-sequential", "dong-1", "dong-2", "dong-3", "dong-4", "dong-5")
NAMES = {
    "cross-entropy": "cross-entropy",
    "selfdistill": "the default",
    "dong-sequential": "the sequential form",
} | {f"dong-{n}": f"the authors' loss {n}" for n in range(1, 6)}
AUTHORS = tuple(f"dong-{n}" for n in range(1, 6))
_SETTLED = 300  # epochs by which a network on digits has settled on its targets
CHECKS = (
    ("wrong fitted", "<=", 0.2, "at the end the network predicts at most a fifth of the wrong labels as given"),
    ("noise removed", ">=", 0.5, "refining takes away at least half of the wrong labels"),
)
SHOWN = (("refined labels right", "refined right"), ("given labels right", "given right"), ("test accuracy", "test"))
THRESHOLD: dict[str, tuple[tuple[Check, ...], tuple[tuple[str, str], ...]]] = {
    "kernel": (
        (
            Check(
                "own 0.4: right over given", "<=", 0.05, "own weight 0.4: the end is no better than the given labels"
            ),
            Check("own 0.6: kept", ">=", 0.95, "own weight 0.6: 95 % of what the early phase had right is kept"),
            Check("agreement, lock", ">=", -0.001, "own weight = agreement: wrong at the end at least what locks in"),
            Check("schedule: kept", ">=", 0.95, "own weight 0.55 and rising to 1: 95 % is kept"),
        ),
        (
            ("given labels right", "given right"),
            ("right after the early phase", "early: right"),
            ("own weight = agreement: right", "agreement: right"),
            ("schedule: right", "schedule: right"),
        ),
    ),
    "network": (
        (
            Check(
                "own 0.3: wrong fitted", ">=", 0.8, "own weight 0.3: at least 80 % of the wrong labels are memorised"
            ),
            Check("own 0.7: wrong fitted", "<=", 0.2, "own weight 0.7: at most 20 % are"),
        ),
        (("own weight 0.45: fitted", "own 0.45: wrong fitted"), ("own weight 0.55: fitted", "own 0.55: wrong fitted")),
    ),
}


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Train one network with one method on one noise, or show the threshold."""
    if settings.get("threshold") == "kernel":
        return threshold.kernel(settings, seed)
    problem = draw_problem(settings, seed, folder)
    if settings.get("threshold") == "network":
        return threshold.network(problem, settings, seed)
    outcome = trained(problem, settings["method"], settings["network"], settings["epochs"], seed)
    return Measured(memory_of(problem, outcome), {"test": [round(v, 4) for v in outcome.curve("test")]})


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge each method under each noise, and the threshold; cross-entropy is shown beside them."""
    found = []
    for part in parts:
        s = part.settings
        where = f"{s['data']}, {s['noise']}" if "data" in s else f"redrawn share {s['noise']}"
        if "threshold" in s:
            checks, shown = THRESHOLD[s["threshold"]]
            where += f", {s['epochs']} epochs" if "epochs" in s else ""
            words = f"the threshold at one half, {s['threshold']} ({where})"
            found.append(Condition(words, part.name, checks, shown, _kind(s)))
            continue
        control = s["method"] == "cross-entropy"
        asked = () if control else tuple(Check(*check) for check in CHECKS)  # type: ignore[arg-type]
        shown = (*((key, key) for key, *_ in CHECKS), *SHOWN) if control else SHOWN
        found.append(Condition(f"{NAMES[s['method']]} ({where})", part.name, asked, shown, _kind(s)))
    return tuple(found)


def _kind(s: Mapping[str, Any]) -> Literal["inside", "outside", "authors"]:
    """Say of what kind a condition is: see the claim's assumptions."""
    if "threshold" in s:
        return "outside" if s["threshold"] == "network" and s["epochs"] < _SETTLED else "inside"
    if int(s["noise"].rpartition("-")[2]) > 50:
        return "outside"
    return "authors" if s["method"] in AUTHORS else "inside"


def draw(rows: Rows) -> Any:
    """Draw the share of wrong labels fitted and the noise removed, method by method and noise by noise."""
    have = {name: records for name, records in rows.items() if records}
    plain = {name: records for name, records in have.items() if "threshold" not in records[0]["settings"]}
    places = list(dict.fromkeys(_place(records) for records in plain.values()))
    drawn, axes = figure.panels(4, width=2.3, height=2.7)
    markers = "osD^vPX*hp"
    colours = (figure.BLACK, figure.BLUE, figure.ORANGE, figure.RED, figure.GREEN)
    for axis, key in zip(axes[0][:2], ("wrong fitted", "noise removed"), strict=True):
        for i, place in enumerate(places):
            mine = {r[0]["settings"]["method"]: r for r in plain.values() if _place(r) == place}
            at = [METHODS.index(m) + 0.08 * (i - len(places) / 2) for m in mine]
            spreads = [figure.spread([r["numbers"][key] for r in records]) for records in mine.values()]
            axis.errorbar(
                [m for m, _ in spreads],
                at,
                xerr=[s for _, s in spreads],
                fmt=markers[i % len(markers)],
                color=colours[i % len(colours)],
                label=place,
            )
        axis.set_yticks(range(len(METHODS)), [NAMES[m] for m in METHODS] if key == "wrong fitted" else [])
        axis.set(ylim=(len(METHODS) - 0.5, -0.5), title=_TITLES[key])
        axis.axvline(0.2 if key == "wrong fitted" else 0.5, color=figure.GREY, ls=":", lw=1)
        axis.set_xlim(left=max(axis.get_xlim()[0], -1.0))
    for axis, kind, draw_one in ((axes[0][2], "network", _draw_network), (axes[0][3], "kernel", _draw_kernel)):
        mine = {n: r for n, r in have.items() if r[0]["settings"].get("threshold") == kind}
        if mine:
            draw_one(axis, mine)
        else:
            axis.set_visible(False)
    drawn.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


_TITLES = {"wrong fitted": "wrong labels fitted (share)", "noise removed": "wrong labels removed (share)"}


def _place(records: Sequence[Mapping[str, Any]]) -> str:
    settings = records[0]["settings"]
    return f"{settings['data']}, {settings['noise']}"


def _draw_network(axis: Any, rows: Mapping[str, Any]) -> None:
    """Draw what is memorised over the own weight."""
    for (name, records), dash in zip(rows.items(), ("-o", "--s"), strict=False):
        values = [[r["numbers"][f"own {w:g}: wrong fitted"] for r in records] for w in threshold.OWN]
        figure.points(axis, threshold.OWN, values, fmt=dash, color=figure.BLUE, label=name)
    axis.axvline(0.5, color=figure.GREY, ls=":", lw=1)
    axis.set(xlabel="own weight after the early phase", title="network: wrong labels fitted", ylim=(-0.05, 1.05))


def _draw_kernel(axis: Any, rows: Mapping[str, Any]) -> None:
    """Draw the share of right labels at the end over the noise."""
    looks: tuple[tuple[str, str, str], ...] = (
        ("own 0.4: right", figure.BLACK, "-o"),
        ("own 0.6: right", figure.BLUE, "--s"),
        ("agreement: right", figure.RED, "-.D"),
        ("schedule: right", figure.GREEN, ":^"),
    )
    order = sorted(rows.values(), key=lambda records: records[0]["settings"]["noise"])
    at = [records[0]["settings"]["noise"] for records in order]
    for key, colour, fmt in looks:
        figure.points(
            axis, at, [[r["numbers"][key] for r in records] for records in order], color=colour, fmt=fmt, label=key
        )
    axis.set(xlabel="share of labels drawn anew", title="kernel regime: labels right", ylim=(0, 1.05))
    axis.legend(loc="lower left", fontsize=6)


def _parts(base: Mapping[str, Any], noises: Sequence[str], needs: tuple[str, ...] = ()) -> tuple[Part, ...]:
    named: Callable[[str, str], str] = lambda method, noise: f"{base['data']}-{noise}-{method}"
    return tuple(
        Part(named(method, noise), dict(base) | {"noise": noise, "method": method}, needs)
        for noise in noises
        for method in METHODS
    )


def _thresholds(base: Mapping[str, Any], rates: Sequence[float], kernel: Mapping[str, Any]) -> tuple[Part, ...]:
    shown = Part("threshold-network", dict(base) | {"noise": "symmetric-40", "threshold": "network"})
    return (
        shown,
        *(
            Part(f"threshold-kernel-{round(100 * r)}", dict(kernel) | {"noise": r, "threshold": "kernel"})
            for r in rates
        ),
    )


_FULL_DIGITS = {"data": "digits", "examples": 1000, "network": "mlp:256,256", "epochs": 60}
_FULL_FASHION = {"data": "fashion", "examples": 6000, "network": "mlp:512,512", "epochs": 30}
_SMALL_DIGITS = {"data": "digits", "examples": 400, "network": "mlp:128", "epochs": 30}
_KERNEL = {"examples": 600, "dimension": 20, "clusters": 10, "radius": 0.4, "time": 400.0}

CLAIM = Claim(
    name="self_distillation",
    title="Self-distillation refines noisy labels without memorising them",
    statement="Distilling sequentially from the network's own predictions of the epoch before avoids memorising the "
    "wrong labels, and so refines them.",
    standing="Abstract (algorithm and its purpose); the schedule of the sequential form is ours; the five losses are "
    "read out of the authors' published code; the default is this package's own method and not the paper's. The "
    "threshold at one half is our derivation (kernel regime and a fixed point argument), not the paper's theorem.",
    method="Networks are trained to their last epoch by the default, by the sequential form (each epoch taught by the "
    "previous epoch's hard predictions, the given labels' weight falling as exp(-(epoch - 5) / 5) from epoch 5 on), by "
    "each of the authors' five losses and, for comparison, by cross-entropy, with the same settings, under symmetric "
    "noise (to the other classes) and pair noise. Counted at the end: wrong labels that the network predicts as "
    "given, and wrong labels left among the refined ones. The threshold: hard own predictions with a constant weight "
    "after an early phase, in a network and in the kernel regime (ten clusters, labels drawn anew from all classes, so "
    "a redrawn share r leaves 0.9 r wrong).",
    assumptions="Fewer than half of the labels wrong: with a weight that follows the agreement no more can be kept. "
    "The threshold is that of a network that has settled on its targets: 60 epochs are too few, a control.",
    full=(
        *_parts(_FULL_DIGITS, ("symmetric-20", "symmetric-40", "symmetric-60", "symmetric-80", "pair-40")),
        *_parts(_FULL_FASHION, ("symmetric-40", "symmetric-60"), ("fashion",)),
        *_thresholds(_FULL_DIGITS, (0.4, 0.6, 0.8), _KERNEL),
        Part("threshold-network-long", _FULL_DIGITS | {"noise": "symmetric-40", "threshold": "network", "epochs": 600}),
    ),
    small=(
        *_parts(_SMALL_DIGITS, ("symmetric-40", "symmetric-60")),
        *_thresholds(_SMALL_DIGITS, (0.4, 0.8), _KERNEL | {"examples": 300, "time": 200.0}),
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="Left: wrong labels fitted by the network at its last epoch and wrong labels taken away by refining, "
    "against their bounds (dotted). Right: hard own predictions with a constant weight: memorised below one half, kept "
    "above.",
    notes="With soft instant predictions (loss 1) the gradient of cross-entropy is only scaled: it cannot do better "
    "than plain training with a smaller step (derived here, checked to rounding by a test of the package).",
)
