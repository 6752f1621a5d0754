"""Claim 2: a network fits informative directions first and noise later, as the eigenspaces of its kernel say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.claims import figure
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.problems import Problem
from benchmarks.claims.problems import draw as draw_problem
from selfdistill._core.rng import torch_generator
from selfdistill.air import calibrated, captured, network_kernel, noise_part
from selfdistill.air._measures import centred, one_hot, random_captured
from selfdistill.air._snapshot import outputs_of
from selfdistill.networks._build import build
from selfdistill.theory import Spectrum

TOP = 10
_MOMENTUM, _BATCH = 0.9, 32
_TEST = 1400  # test examples looked at after every epoch; they choose the best one
CHECKS = (
    ("gap at start", ">=", 0.1, f"at initialisation the top {TOP} directions hold 10 points more of clean labels"),
    ("gap, least of all moments", ">=", 0.1, "the same at every moment of training that was looked at"),
    ("noise off random", "<=", 0.02, "at initialisation they hold noise as random labels, within 2 points"),
    ("order", ">=", 0.5, "rank correlation of predicted and measured order of fitting at least 0.5"),
    (
        "clean before noise",
        ">=",
        0.2,
        "at the best epoch, 20 points more of the clean labels are retrieved than of noise",
    ),
)
SHOWN = (
    ("clean, start", "clean at start"),
    ("noise, start", "noise at start"),
    ("random labels", "random at start"),
    ("clean, best epoch", "clean at best"),
    ("noise, best epoch", "noise at best"),
    ("clean, end", "clean at end"),
    ("noise, end", "noise at end"),
    ("noise retrieved at the end", "noise retrieved at end"),
)


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Train once; take the kernel at the start, at the best epoch and at the end, and follow every direction."""
    problem = draw_problem(settings, seed, folder)
    stats, x = problem.train.preprocess.stats, problem.train.inputs
    net = build(settings["network"], tuple(x.shape[1:]), 10, seed=seed, stats=stats)
    take = network_kernel(output=settings["output"])
    clean = one_hot(problem.truth, 10)
    parts = {
        "clean": centred(clean),
        "noise": centred(noise_part(problem.train.labels, problem.truth, 10, problem.matrix)),
    }
    first = calibrated(net, x)
    spectrum = take(first, x)
    random = random_captured(spectrum, problem.train.labels, 10, [TOP], draws=20)
    states, predicted, accuracy = _train(net, problem, settings, seed)
    best = max(range(len(accuracy)), key=accuracy.__getitem__)
    energy = {"start": _energy(spectrum, parts)}
    for name, state in (("best", states[best]), ("end", states[-1])):
        net.load_state_dict(state)
        energy[name] = _energy(take(calibrated(net, x), x), parts)
    given = one_hot(problem.train.labels, 10)
    retrieved = {name: [_retrieved(p - predicted[0], z, given) for p in predicted] for name, z in parts.items()}
    residuals = _residuals(spectrum, predicted, given)
    gaps = [e["clean"][TOP - 1] - e["noise"][TOP - 1] for e in energy.values()]
    numbers = {f"{part} at {when}": e[part][TOP - 1] for when, e in energy.items() for part in parts}
    numbers |= {
        "random at start": float(random.expected[0]),
        "gap at start": gaps[0],
        "gap, least of all moments": min(gaps),
        "noise off random": abs(numbers["noise at start"] - float(random.expected[0])),
        "order": order(spectrum.values, residuals),
        "clean before noise": retrieved["clean"][best] - retrieved["noise"][best],
        "noise retrieved at end": retrieved["noise"][-1],
        "best epoch": best,
        "best accuracy": accuracy[best],
        "last accuracy": accuracy[-1],
    }
    curves: dict[str, Any] = {"energy": {k: _thin(e) for k, e in energy.items()}, "retrieved": retrieved}
    curves["residuals"] = _groups(residuals)
    curves["random"] = [float(v) for v in _random_curve(spectrum)]
    return Measured(numbers, curves)


def _train(
    net: nn.Module, problem: Problem, settings: Mapping[str, Any], seed: int
) -> tuple[list[dict[str, Tensor]], list[Tensor], list[float]]:
    """Train with SGD at a constant rate; weights, predictions of the training set and test accuracy by epoch."""
    optimizer = torch.optim.SGD(net.parameters(), settings["lr"], momentum=_MOMENTUM)
    x, given = problem.train.inputs, problem.train.labels
    generator = torch_generator(seed, "claims", "air")
    states, predicted, accuracy = [], [], []
    for epoch in range(settings["epochs"] + 1):
        frozen = calibrated(net, x)
        states.append({name: value.clone() for name, value in net.state_dict().items()})
        predicted.append(outputs_of(frozen, x))
        guess = outputs_of(frozen, problem.test[0][:_TEST]).argmax(1)
        accuracy.append(float((guess == problem.test[1][:_TEST]).double().mean()))
        net.train()
        for batch in torch.randperm(len(x), generator=generator).split(_BATCH) if epoch < settings["epochs"] else ():
            if len(batch) < 2:  # BatchNorm needs two
                continue
            loss = nn.functional.cross_entropy(net(x[batch]), given[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return states, predicted, accuracy


def _energy(spectrum: Spectrum, parts: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Share of each label matrix in the leading directions, for every number of them."""
    ranks = list(range(1, spectrum.size + 1))
    return {name: captured(spectrum, z, ranks).tolist() for name, z in parts.items()}


def _random_curve(spectrum: Spectrum) -> Tensor:
    """Expected share of labels dealt out at random, thinned as `_thin` does."""
    n = spectrum.size
    on_constant = spectrum.vectors.sum(0).square().cumsum(0) / n
    shares = (torch.arange(1, n + 1) - on_constant) / (n - 1)
    return shares[[k - 1 for k in _ranks(n)]]


def _ranks(n: int) -> list[int]:
    return sorted(
        {*range(1, min(n, 10) + 1), *(round(k) for k in torch.logspace(1, torch.tensor(n).log10(), 30).tolist())}
    )


def _thin(energy: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(shares[k - 1], 4) for k in _ranks(len(shares))] for name, shares in energy.items()}


def _retrieved(change: Tensor, z: Tensor, given: Tensor) -> float:
    """Say how much of a part of the given labels a change of the predictions holds: <change, z> / <given, z>.

    The given labels hold less than the whole of the clean ones (5/9 of them at 40 % noise), so that fitting them fully
    is 1 for the clean part and for the noise alike.
    """
    return round(float((change * z).sum() / (given * z).sum()), 4)


def _residuals(spectrum: Spectrum, predicted: Sequence[Tensor], target: Tensor) -> Tensor:
    """Energy of the residual in each direction, over that at the start, ``[epochs, n]``."""
    start = spectrum.coefficients(predicted[0] - target).square().sum(1)
    return torch.stack([spectrum.coefficients(p - target).square().sum(1) / start for p in predicted])


def order(values: Tensor, residuals: Tensor) -> float:
    """Rank correlation of how early directions are predicted and measured to be fitted.

    The kernel predicts the order of its eigenvalues, whatever the clock. Measured: the mean over the epochs of what is
    left in a direction; less is earlier.
    """
    from scipy.stats import spearmanr

    return float(spearmanr(values.numpy(), -residuals.mean(0).numpy()).statistic)


def _groups(residuals: Tensor) -> list[list[float]]:
    """Mean residual in seven groups of directions, each a few times as many as the last: ``[groups][epochs]``."""
    n = residuals.shape[1]
    edges = torch.logspace(0, torch.tensor(n).log10(), 8).round().int().tolist()
    pairs = [(a - 1, max(b - 1, a)) for a, b in pairwise(edges)]
    return [[round(v, 4) for v in residuals[:, a:b].mean(1).tolist()] for a, b in pairs]


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge each network on each data set."""
    checks = tuple(Check(*check) for check in CHECKS)  # type: ignore[arg-type]
    return tuple(
        Condition(
            f"{p.settings['network']} ({p.settings['data']}, {p.settings['noise']})",
            p.name,
            checks,
            SHOWN,
            "outside" if p.settings["network"].startswith("resnet") else "inside",
        )
        for p in parts
    )


def draw(rows: Rows) -> Any:
    """Draw energy at the start and the end, what is retrieved along training, and residuals by group of directions."""
    have = {name: records for name, records in rows.items() if records}
    drawn, axes = figure.panels(3, len(have), width=2.6, height=2.0)
    for line, (name, records) in zip(axes, have.items(), strict=True):
        ranks = _ranks(records[0]["settings"]["examples"])
        for part, colour in (("clean", figure.BLUE), ("noise", figure.RED)):
            for when, dash in (("start", "-"), ("end", "--")):
                curves = [r["curves"]["energy"][when][part] for r in records]
                figure.band(line[0], ranks, curves, color=colour, ls=dash, label=f"{part}, {when}")
            curves = [r["curves"]["retrieved"][part] for r in records]
            figure.band(line[1], range(len(curves[0])), curves, color=colour, label=part)
        figure.band(
            line[0], ranks, [r["curves"]["random"] for r in records], color=figure.GREY, ls=":", label="random labels"
        )
        line[0].set(xscale="log", ylabel=name, ylim=(0, 1.02))
        line[2].set_ylim(0, 1.3)
        groups = len(records[0]["curves"]["residuals"])
        for i in range(groups):
            curves = [r["curves"]["residuals"][i] for r in records]
            figure.band(line[2], range(len(curves[0])), curves, color=_shade(i, groups))
    for axis, title in zip(
        axes[0], ("energy in the leading directions", "retrieved", "left in directions"), strict=True
    ):
        axis.set_title(title)
    for axis, label in zip(axes[-1], ("directions", "epochs", "epochs (dark: leading)"), strict=True):
        axis.set_xlabel(label)
    axes[0][0].legend(fontsize=6)
    return drawn


def _shade(i: int, groups: int) -> tuple[float, float, float]:
    """From dark blue for the leading directions to pale for the last."""
    share = i / max(groups - 1, 1)
    return (0.8 * share, 0.27 + 0.55 * share, 0.45 + 0.45 * share)


def _part(data: str, network: str, examples: int, epochs: int, lr: float, output: str = "trace") -> Part:
    settings = {"data": data, "network": network, "examples": examples, "epochs": epochs, "lr": lr}
    name = f"{data}-{network.replace(':', '-').replace(',', '-')}"
    needs = ("fashion",) if data == "fashion" else ()
    return Part(name, settings | {"noise": "symmetric-40", "output": output}, needs)


CLAIM = Claim(
    name="air",
    title="Informative directions first, noise later (AIR)",
    statement="Anisotropic information retrieval: an overparameterised network fits the informative part of its labels "
    "first and the non-informative part, noise included, later; the eigenspaces of its tangent kernel say which is "
    "which.",
    standing="Abstract (second claim). The measures are this package's own definitions; the paper's are not known to "
    "us.",
    method="40 % of the labels become other classes. Noise is the part of the given labels that the true ones do not "
    "explain, with columns centred. The kernel is taken at initialisation, at the epoch of best test accuracy and at "
    f"the end; the top {TOP} directions are asked for their share of clean labels, of noise and of random labels. The "
    "network is trained by SGD at a constant rate and cross-entropy on the same examples; what is left of the given "
    "labels in each direction of the initial kernel is measured after each epoch, and its mean over the epochs is "
    "ranked against the eigenvalues. Retrieved: how far predictions have moved along the clean labels and along the "
    "noise, over what the given labels hold of each.",
    assumptions="Wide networks, whose kernel stays near that of the start. A ResNet-20 is narrow (16 to 64 channels) "
    "and normalises its batches, so its kernel moves: a control.",
    full=(
        _part("digits", "mlp:256,256", 1000, 40, 0.02),
        _part("digits", "cnn:16,32", 1000, 40, 0.02),
        _part("digits", "resnet20", 200, 30, 0.02),
        _part("fashion", "mlp:512,512", 2000, 40, 0.02),
        _part("fashion", "cnn:16,32,64", 1500, 30, 0.02),
        _part("fashion", "resnet20", 300, 20, 0.02, output="sum"),
    ),
    small=(
        _part("digits", "mlp:128", 300, 30, 0.02),
        _part("digits", "cnn:8,16", 300, 25, 0.02),
        _part("digits", "resnet20", 100, 20, 0.02, output="sum"),
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="Left: energy that the leading directions hold of clean labels and noise, at the start and at the end. "
    "Middle: what predictions have retrieved of both. Right: what is left of the given labels in groups of directions "
    "of the initial kernel, leading ones dark (the first is nearly constant, and little of the labels lies in it). "
    "Mean and range of the seeds.",
    notes='The kernel of a ResNet is that of few examples; output "sum" stands for a kernel of the summed logits, '
    "which costs a tenth. What is retrieved was at first divided by the size of the clean labels and of the noise, "
    "under which a network that fits all given labels retrieves 5/9 of the one and all of the other; since the first "
    "small run it is divided by what the given labels hold of each. Bounds and verdicts stayed as they were.",
)
