"""Claim 4: self-distillation converges to the truth in l2 and so leaves a margin; early stopping only in 0-1 loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.claims import clusters, figure
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.closed_forms import first_layer_kernel, settled_bound
from benchmarks.claims.two_layer import GivenWeight, TwoLayer, descend, low_margin
from benchmarks.claims.two_layer import Path as Walk
from selfdistill.theory import Spectrum, best_stopping_time, gradient_flow, settled_distillation

CHECKS = (
    ("l2 end", "<=", 0.1, "l2 distance to the true labels at the end, per example, at most 0.1"),
    ("l2 over early stopping", "<=", 0.5, "that is at most half of the distance at early stopping's oracle best"),
    ("margin end", ">=", 0.5, "99 % of the training examples have a margin of at least 0.5"),
    (
        "test over early stopping",
        ">=",
        -0.01,
        "test accuracy at the end is at most a point below early stopping's best",
    ),
)
PROMISED = (
    ("margin over promised", ">=", 0.8, "99 % of the training examples have at least 0.8 of the margin 1 - 2r"),
    CHECKS[-1],
)
"""What is asked of loss 3, whose outputs end near r x given + (1 - r) x truth."""
GROWING = (
    ("l2 end, largest", "<=", 0.1, "of the largest, l2 distance to the true labels at the end is at most 0.1"),
    ("margin end, largest", ">=", 0.5, "of the largest, 99 % of the training examples have a margin of at least 0.5"),
    ("l2, largest over smallest", "<=", 0.5, "that distance is at most half of the smallest's"),
)
SHOWN = (
    ("early stopping, oracle: l2", "stopped: l2"),
    ("its 99 % margin", "stopped: margin"),
    ("its 0-1 loss", "stopped: wrong"),
    ("plain descent, end: l2", "plain: l2"),
    ("its 0-1 loss", "plain: wrong"),
)
SHOWN_KERNEL = (
    *SHOWN,
    ("right after the early phase", "right when settled"),
    ("predictions stay", "predictions stay"),
    ("bound on the l2 distance, weight falls", "bound end"),
)
METHODS = ("schedule", "decayed", "agreement")
WORDS = {
    "schedule": "given labels' weight falls to 0",
    "decayed": "given labels' weight = (1 - agreement) falling to 0",
    "agreement": "given labels' weight = 1 - agreement (loss 3)",
}
_EARLY = 3.0  # time constants of the K-th direction that count as the early phase
_WEIGHTS, _SURPLUS, _RADIUS = 10, 8, 0.8  # see the claim's assumptions


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Train the network, or solve the kernel regime in closed form."""
    if "sizes" in settings:
        return growing(settings, seed)
    made = _made(settings, seed)
    return kernel(made, settings) if settings["width"] is None else network(made, settings, seed)


def _made(settings: Mapping[str, Any], seed: int) -> clusters.Clusters:
    keys = ("examples", "dimension", "clusters", "radius", "noise")
    return clusters.make(seed, **{key: settings[key] for key in keys})


def rate(settings: Mapping[str, Any]) -> float:
    """Share of wrong labels r: whole labels of each cluster are turned over."""
    size = settings["examples"] // settings["clusters"]
    return round(settings["noise"] * size) / size


def growing(settings: Mapping[str, Any], seed: int) -> Measured:
    """Train networks with a falling weight whose examples and width grow together."""
    numbers, l2 = {}, []
    for examples, width in settings["sizes"]:
        one = dict(settings) | {"examples": examples, "width": width}
        found = network(_made(one, seed), one, seed, ("schedule",))
        numbers |= {f"n = {examples}: {key}": found.numbers[f"schedule: {key}"] for key in ("l2 end", "margin end")}
        l2.append(found.numbers["schedule: l2 end"])
    largest = f"n = {settings['sizes'][-1][0]}"
    return Measured(
        numbers
        | {
            "l2 end, largest": numbers[f"{largest}: l2 end"],
            "margin end, largest": numbers[f"{largest}: margin end"],
            "l2, largest over smallest": l2[-1] / l2[0],
        },
        {"l2": [round(v, 5) for v in l2]},
    )


def network(
    made: clusters.Clusters, settings: Mapping[str, Any], seed: int, methods: Sequence[str] = METHODS
) -> Measured:
    """Train a network of finite width: plainly, and with its own signs under each weight."""
    net = TwoLayer.draw(settings["width"], settings["dimension"], seed)
    labels = (clusters.signs(z).float() for z in (made.given, made.truth))
    x = made.inputs.float()
    data = (x, *labels, made.test_inputs.float(), clusters.signs(made.test_truth).float())
    values = torch.linalg.eigvalsh(net.kernel(x)).flip(0)
    lr, steps = 1 / float(values[0]), settings["steps"]
    early = min(math.ceil(_EARLY / (lr * float(values[settings["clusters"] - 1]))), steps // 2)
    record = sorted({0, steps, *(round(step) for step in torch.logspace(0, math.log10(steps), 80).tolist())})
    paths = {name: descend(net, data, lr, steps, record, _weight(name, early)) for name in ("plain", *methods)}
    plain = paths["plain"]
    best = plain.distance.index(min(plain.distance))
    stopped = {"l2": plain.distance[best], "margin": plain.low[best], "wrong": plain.wrong[best]}
    numbers = {f"stopped: {key}": value for key, value in stopped.items()} | {
        "stopped: test": plain.test[best],
        "plain: l2": plain.distance[-1],
        "plain: wrong": plain.wrong[-1],
        "plain: fitted": plain.fitted[-1],
        "early steps": early,
        "largest eigenvalue": float(values[0]),
        "K-th eigenvalue": float(values[settings["clusters"] - 1]),
        "next eigenvalue": float(values[settings["clusters"]]),
    }
    for name in methods:
        numbers |= _ends(name, paths[name], numbers, rate(settings))
    kept = {name: _curve(path) for name, path in paths.items()}
    return Measured(numbers, {"steps": record, "paths": kept, "best": best, "early": early})


def _weight(name: str, early: int) -> GivenWeight | None:
    """Weight of the given labels: all of it in the early phase, then what the method says."""

    def weight(step: int, agreement: float) -> float:
        if step < early:
            return 1.0
        falling = math.exp(-(step - early) / early)
        return {"schedule": falling, "decayed": (1 - agreement) * falling, "agreement": 1 - agreement}[name]

    return None if name == "plain" else weight


def _ends(name: str, path: Walk, stopped: Mapping[str, float], wrong: float) -> dict[str, float]:
    return {
        f"{name}: l2 end": path.distance[-1],
        f"{name}: l2 over early stopping": path.distance[-1] / stopped["stopped: l2"],
        f"{name}: margin end": path.low[-1],
        f"{name}: margin over promised": path.low[-1] / (1 - 2 * wrong),
        f"{name}: smallest margin": path.margin[-1],
        f"{name}: wrong end": path.wrong[-1],
        f"{name}: test over early stopping": path.test[-1] - stopped["stopped: test"],
        f"{name}: moved": path.moved,
    }


def _curve(path: Walk) -> dict[str, list[float]]:
    kept = {"distance": path.distance, "margin": path.low, "wrong": path.wrong}
    return {key: [round(v, 4) for v in values] for key, values in kept.items()} | {
        "margins": [round(v, 3) for v in sorted(path.margins)]
    }


def kernel(made: clusters.Clusters, settings: Mapping[str, Any]) -> Measured:
    """Solve the infinitely wide network: flow, best stopping time, and settled self-distillation."""
    spectrum = Spectrum.of(first_layer_kernel(made.inputs))
    given, truth = clusters.signs(made.given), clusters.signs(made.truth)
    n, early = len(truth), _EARLY / float(spectrum.values[settings["clusters"] - 1])
    end = 20 / float(spectrum.values[-1])
    best = best_stopping_time(spectrum, truth, given, variance=0.0)
    start, at_best, at_end = gradient_flow(spectrum, given, [early, best.time, math.inf])
    own = torch.where(start >= 0, 1.0, -1.0).double()
    agreement = float((own == given).double().mean())
    grid = torch.logspace(-2, math.log10(end), 120).double().tolist()
    options: dict[str, Any] = {"start": start, "given_weight": 1.0, "decay": 1 / early}
    ways: dict[str, dict[str, Any]] = {
        "schedule": options,
        "decayed": options | {"given_weight": 1 - agreement},
        "agreement": options | {"given_weight": 1 - agreement, "decay": 0.0},
    }
    walks = {"plain": gradient_flow(spectrum, given, grid)}
    for name, way in ways.items():
        walks[name] = settled_distillation(spectrum, given, own, [*grid, end], **way)
    stays = all(bool(((f >= 0) == (own > 0)).all()) for name in METHODS for f in walks[name])
    numbers = {
        "stopped: l2": _distance(at_best, truth),
        "stopped: margin": low_margin(truth * at_best),
        "stopped: wrong": float((truth * at_best <= 0).double().mean()),
        "plain: l2": _distance(at_end, truth),
        "plain: wrong": float((truth * at_end <= 0).double().mean()),
        "plain: l2 over noise": _distance(at_end, truth) / _distance(given, truth),
        "predictions stay": float(stays),
        "right when settled": float((own == truth).double().mean()),
        "bound end": float(settled_bound(spectrum, given, own, end, **options)) / n**0.5,
    }
    for name in METHODS:
        f = walks[name][-1]
        numbers |= {
            f"{name}: l2 end": _distance(f, truth),
            f"{name}: l2 over early stopping": _distance(f, truth) / numbers["stopped: l2"],
            f"{name}: margin end": low_margin(truth * f),
            f"{name}: margin over promised": low_margin(truth * f) / (1 - 2 * rate(settings)),
            f"{name}: smallest margin": float((truth * f).min()),
            f"{name}: wrong end": float((truth * f <= 0).double().mean()),
        }
    kept = {name: _kernel_curve(f[: len(grid)], truth) for name, f in walks.items()}
    return Measured(numbers, {"steps": grid, "paths": kept, "early": early})


def _distance(outputs: Tensor, truth: Tensor) -> float:
    return float((outputs - truth).norm()) / len(truth) ** 0.5


def _kernel_curve(outputs: Tensor, truth: Tensor) -> dict[str, list[float]]:
    margins = truth * outputs
    return {
        "distance": [round(_distance(f, truth), 4) for f in outputs],
        "margin": [round(low_margin(row), 4) for row in margins],
        "wrong": [round(v, 4) for v in (margins <= 0).double().mean(1).tolist()],
        "margins": [round(v, 3) for v in margins[-1].sort().values.tolist()],
    }


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge each part under each weight; the kernel regime has no test set."""
    found = [_grown(part) for part in parts if "sizes" in part.settings]
    for name in METHODS:
        for part in parts:
            s = part.settings
            if "sizes" in s:
                continue
            kernel_regime = s["width"] is None
            where = "kernel regime" if kernel_regime else f"width {s['width']:,}"
            words = f"{WORDS[name]} ({where}, n {s['examples']}, noise {s['noise']:g}, radius {s['radius']:g})"
            asked = [
                c
                for c in (PROMISED if name == "agreement" else CHECKS)
                if not (kernel_regime and c[0].startswith("test"))
            ]
            checks = tuple(Check(f"{name}: {key}", relation, bound, text) for key, relation, bound, text in asked)
            shown = (
                *((("l2 at the end", "agreement: l2 end"),) if name == "agreement" else ()),
                ("smallest margin", f"{name}: smallest margin"),
                ("0-1 loss at the end", f"{name}: wrong end"),
                *(SHOWN_KERNEL if kernel_regime else SHOWN),
            )
            kind = "outside" if _outside(s) else "authors" if name == "agreement" else "inside"
            found.append(Condition(words, part.name, checks, shown, kind))
    return tuple(found)


def _outside(s: Mapping[str, Any]) -> bool:
    """Whether a part is a control: see the claim's assumptions."""
    size = s["examples"] // s["clusters"]
    surplus = size - 2 * round(s["noise"] * size)
    narrow = s["width"] is not None and s["width"] * s["dimension"] < _WEIGHTS * s["examples"]
    return bool(s["radius"] >= _RADIUS or surplus < _SURPLUS or narrow)


def _grown(part: Part) -> Condition:
    sizes = part.settings["sizes"]
    checks = tuple(Check(*check) for check in GROWING)  # type: ignore[arg-type]
    shown = tuple(
        (f"n {n}, width {width:,}: {head}", f"n = {n}: {key}")
        for n, width in sizes
        for head, key in (("l2", "l2 end"), ("99 % margin", "margin end"))
    )
    ends = " to ".join(f"n {n}, width {width:,}" for n, width in (sizes[0], sizes[-1]))
    return Condition(f"n and width grow together ({ends}; noise {part.settings['noise']:g})", part.name, checks, shown)


_LOOK = {
    "plain": (figure.BLACK, "-", "given labels alone"),
    "schedule": (figure.BLUE, "--", "own signs, weight of given labels falls to 0"),
    "decayed": (figure.ORANGE, ":", "own signs, weight = 1 - agreement, falling to 0"),
    "agreement": (figure.RED, "-.", "own signs, weight = 1 - agreement"),
}


def draw(rows: Rows) -> Any:
    """Draw distance, 0-1 loss and margins of the first network, the growing one, and every part at the end."""
    name = next(n for n, r in rows.items() if r and n.startswith("network"))
    records = rows[name]
    drawn, axes = figure.panels(4, 2, width=2.4, height=2.4, sharey=False)
    _draw_growing(axes[0][3], rows)
    axes[1][3].set_visible(False)
    rows = {n: r for n, r in rows.items() if not n.startswith("growing")}
    for way, (colour, dash, label) in _LOOK.items():
        look: dict[str, Any] = {"color": colour, "ls": dash}
        for axis, key in zip(axes[0], ("distance", "wrong", "margin"), strict=False):
            curves = [r["curves"]["paths"][way][key][1:] for r in records]
            figure.band(axis, records[0]["curves"]["steps"][1:], curves, label=label, **look)
        margins = [m for r in records for m in r["curves"]["paths"][way]["margins"]]
        axes[1][0].hist(margins, 40, range=(-1.6, 1.6), histtype="step", color=colour, ls=dash)
        for axis, key in zip(axes[1][1:3], ("l2 end", "margin end"), strict=True):
            _ends_by_part(axis, rows, way, key)
    titles = ("l2 distance to the truth, per example", "0-1 loss against the truth", "margin of 99 %")
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set(xscale="log", xlabel="steps", title=title)
    axes[1][0].set(title="margins at the end", xlabel="true label x output")
    axes[1][1].set_title("l2 distance at the end")
    axes[1][2].set_title("margin of 99 % at the end")
    axes[1][2].set_yticklabels([])
    drawn.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return drawn


def _draw_growing(axis: Any, rows: Rows) -> None:
    """Draw the distance at the end over n, where n and width grow together."""
    records = next((r for n, r in rows.items() if r and n.startswith("growing")), None)
    if records is None:
        axis.set_visible(False)
        return
    sizes = records[0]["settings"]["sizes"]
    values = [[r["curves"]["l2"][i] for r in records] for i in range(len(sizes))]
    figure.points(axis, [n for n, _ in sizes], values, color=figure.BLUE, fmt="-o")
    axis.set(xscale="log", yscale="log", xlabel="examples; width grows alike", title="l2 at the end, noise 0.4")


def _ends_by_part(axis: Any, rows: Rows, way: str, key: str) -> None:
    """Draw one number of every part, whiskers one deviation."""
    have = [name for name, records in rows.items() if records]
    at = range(len(have))
    stopped = "stopped: l2" if key == "l2 end" else "stopped: margin"
    number = stopped if way == "plain" else f"{way}: {key}"
    spreads = [figure.spread([r["numbers"][number] for r in rows[name]]) for name in have]
    colour, marker = (figure.BLACK, "|") if way == "plain" else (_LOOK[way][0], "o" if way == "schedule" else "s")
    axis.errorbar([m for m, _ in spreads], at, xerr=[s for _, s in spreads], fmt=marker, color=colour)
    axis.set_yticks(at, [name.removeprefix("network-") for name in have])
    axis.set_ylim(len(have) - 0.5, -0.5)
    axis.grid(alpha=0.25)


def _part(name: str, **other: Any) -> Part:
    base = {"examples": 200, "dimension": 20, "clusters": 8, "radius": 0.4, "noise": 0.2, "width": 512, "steps": 3000}
    return Part(name, base | other)


CLAIM = Claim(
    name="margin",
    title="Convergence in l2, and with it a margin",
    statement="Self-distillation converges to the true labels in l2 distance, so that the training examples keep a "
    "margin; what was known of early stopping is convergence in 0-1 loss.",
    standing="Abstract (theorem stated there; its body, conditions and constants were not at hand). Data and network "
    "are the model of Li, Soltanolkotabi & Oymak (2020), as read in openings and from memory. The kernel regime is "
    "our own derivation and not the paper's theorem.",
    method="Clusters on the unit sphere, two classes, a share of each cluster's labels (in whole labels) turned over. "
    "Two-layer networks with tanh, first layer trained, output weights +-1/sqrt(width), squared loss, full-batch "
    "gradient descent with step 1 / largest eigenvalue of the initial kernel. After an early phase of three time "
    "constants of the K-th eigenvalue (K the number of clusters; no truth is looked at) the target is "
    "a x given + (1 - a) x own sign: a falls as exp(-time / early phase); or a = 1 - agreement with the given labels "
    "as in the authors' loss 3; or the product of the two. Early stopping is plain descent at the recorded step "
    "nearest to the truth, an oracle's. Kernel regime: the same in closed form with the first-layer ReLU kernel. "
    "Width, noise and radius are varied around width 512, noise 0.2, radius 0.4; in one condition n and width grow "
    "together at noise 0.4. The margin is that which 99 % of the examples have at least.",
    assumptions="Clusters apart (radius below 0.8), in each of them at least 8 more right labels than wrong ones, and "
    "at least 10 weights for each example; where one of these fails, the condition is a control. Loss 3 keeps a weight "
    "of about the noise rate r on the given labels, so its distance cannot fall below 2r sqrt(r): it is asked for 0.8 "
    "of the margin 1 - 2r.",
    full=(
        _part("network"),
        *(_part(f"network-width-{width}", width=width) for width in (16, 64, 2048)),
        *(_part(f"network-noise-{round(100 * noise)}", noise=noise) for noise in (0.1, 0.3, 0.4, 0.48)),
        _part("network-noise-40-n-800", noise=0.4, examples=800),
        *(_part(f"network-radius-{round(100 * radius)}", radius=radius) for radius in (0.1, 0.8, 1.2)),
        _part("growing", noise=0.4, steps=1500, sizes=[[80, 200], [160, 400], [320, 800], [800, 2000]]),
        _part("kernel", examples=400, noise=0.3, width=None, steps=0),
        _part("kernel-noise-40", examples=400, noise=0.4, width=None, steps=0),
        _part("kernel-radius-80", examples=400, noise=0.3, radius=0.8, width=None, steps=0),
    ),
    small=(
        _part("network", examples=96, width=256, steps=1500),
        _part("network-noise-40", examples=96, width=256, steps=1500, noise=0.4),
        _part("network-radius-120", examples=96, width=256, steps=1500, radius=1.2),
        _part("growing", noise=0.4, steps=600, sizes=[[80, 200], [320, 800]]),
        _part("kernel", examples=200, noise=0.3, width=None, steps=0),
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="Top: the base network over its steps, mean and range of the seeds. Top right: n and "
    "width grow together. Bottom: all margins at the end, and each part's distance and margin of 99 % at the end "
    "(black: early stopping at its oracle best).",
    notes="In the kernel regime the closed form is that of predictions that stay as they are after the early phase; "
    "the tables say whether they do (1: in every seed) and how many of them are right; where they do not, its numbers "
    "are not what training would give. With a weight of 1 - agreement the given labels keep a weight of about the "
    "noise rate r, and the outputs end near r x given + (1 - r) x truth: a margin of 1 - 2r, but a distance that does "
    "not vanish. The margin was at first the smallest of all examples, which one example of 200 on the wrong side "
    "decides.",
)
