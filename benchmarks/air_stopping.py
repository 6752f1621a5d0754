"""When to stop training on noisy labels: estimates from the kernel at initialisation, against real training runs.

    python -m benchmarks.air_stopping run DATA [--part development|final|fresh] [--budget MINUTES]
    python -m benchmarks.air_stopping report

DATA holds ``features/``, ``cifar10/``, ``fashion-mnist/``, ``tabular/`` and ``text/``. The *development* runs choose a
rule, the width of its interval, when the share of wrong labels is told and its range; the *final* runs are of other
data sets, or of other rows of them, and only report. The *fresh* runs came later, of tables that no other part has:
they report on a range of the share that was widened after the final ones had been seen. A run trains a small network
by cross-entropy on at most 1,000 rows with wrong labels, in one of two recipes: a constant learning rate in a loop of
its own, or the package's one-cycle schedule. Every rule of ``air.stopping_time`` is asked for a time, as are two that
know the truth (best predicted accuracy, least predicted distance). A time becomes an epoch in three ways: by the clock
(learning rate x steps), by the clock times one factor fitted to the run's agreement curve, and where the run reaches
the agreement that is predicted for the time ("matched"). Beside them: the epoch that a noisy hold-out picks, and the
last.
Records: ``benchmarks/records/air_stopping.parquet``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import drive
from benchmarks.features import data_sets, noise
from benchmarks.features.cache import as_arrays
from benchmarks.table import RECORDS, Table
from selfdistill import air, train
from selfdistill._core.record import environment
from selfdistill._core.rng import numpy_generator, torch_generator
from selfdistill.air._clock import Clock
from selfdistill.air._measures import one_hot
from selfdistill.air._snapshot import outputs_of
from selfdistill.air._stopping import (
    StoppingEpoch,
    epoch_of_agreement,
    label_noise_variance,
    stopping_epoch,
    wrong_share,
)
from selfdistill.data._source import from_arrays
from selfdistill.networks._build import build
from selfdistill.train._fit import fit

TABLE = Table(RECORDS / "air_stopping.parquet", 2)
ROWS, HOLDOUT, TEST = 1000, 100, 2000
BATCH, MOMENTUM, EPOCHS = 32, 0.9, 40
RATES = {"mlp:128": 0.02, "mlp:256,256": 0.02, "cnn:8,16": 0.02}
BELOW, ABOVE = 0.17, 0.14  # the range of the share, as in `air.noise_share`
RULES = ("variance", "gcv", "left-out")
WAYS = ("clock", "fitted", "matched")
_IMAGES = {"fashion-2000": (1, 28, 28), "fashion-10000": (1, 28, 28)}


class Run(NamedTuple):
    """What is trained.

    Attributes:
        data: Name of a data set of `benchmarks.features`.
        noise: Kind of wrong labels.
        network: Specification.
        recipe: "constant" or "one-cycle".
        seed: Of rows, noise, weights and batches.
    """

    data: str
    noise: str
    network: str
    recipe: str
    seed: int


def _runs(table: dict[str, tuple[str, ...]], networks_: tuple[str, ...]) -> list[Run]:
    """Each data set and kind of noise, with networks and recipes in turn."""
    found = []
    for data, kinds in table.items():
        own = (*networks_, "cnn:8,16") if data in _IMAGES else networks_
        for kind in kinds:
            for network in own:
                recipe = ("constant", "one-cycle")[len(found) % 2]
                found.append(Run(data, kind, network, recipe, len(found) // 2))
    return found


PARTS = {
    "development": _runs(
        {
            "digits": ("symmetric-20", "symmetric-40", "symmetric-60", "pair-30", "weak"),
            "fashion-2000": ("symmetric-20", "symmetric-40", "pair-30", "weak"),
            "semeval": ("rules", "symmetric-40"),
            "semeval-text": ("rules", "symmetric-20"),
            "cifar10": ("human-random1", "human-worst", "symmetric-40"),
        },
        ("mlp:128", "mlp:256,256"),
    ),
    "final": _runs(
        {
            "music": ("crowd", "symmetric-20", "pair-30"),
            "trec": ("rules", "symmetric-20", "symmetric-60"),
            "trec-text": ("rules", "symmetric-40"),
            "fashion-10000": ("symmetric-40", "symmetric-60", "pair-40", "weak"),
            "cifar10": ("human-aggre", "human-worst", "symmetric-20", "pair-40"),
        },
        ("mlp:128", "mlp:256,256"),
    ),
    "fresh": _runs(
        {
            "satimage": ("symmetric-20", "symmetric-40", "symmetric-60", "pair-40", "weak"),
            "letter": ("symmetric-20", "symmetric-40", "symmetric-60", "pair-40", "weak"),
            "vowel": ("symmetric-20", "symmetric-40", "symmetric-60", "pair-40", "weak"),
        },
        ("mlp:128", "mlp:256,256"),
    ),
}
_ROWS_OF = {"fresh": "final"}  # part of `benchmarks.features` whose rows are taken


class Rows(NamedTuple):
    """Tensors of a run: inputs, given and true labels to train on, a noisy hold-out and a clean test set."""

    inputs: Tensor
    given: Tensor
    truth: Tensor
    holdout: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int


def draw(run: Run, part: str, folder: Path) -> Rows:
    """Draw the rows of a run; features are standardised by all training rows, texts are TF-IDF."""
    whole = data_sets.read(run.data, _ROWS_OF.get(part, part), folder, folder / "cache")
    given, (x, x_test) = noise.draw(whole, run.noise, run.seed), as_arrays(whole.train, whole.test)
    if run.data.endswith("-text"):
        centre, scale = np.float32(0), x.std()  # TF-IDF: rare words shall not count more
    else:
        centre, scale = x.mean(0), np.maximum(x.std(0), 0.2 if run.data in _IMAGES else 1e-3)
    shape = _IMAGES[run.data] if run.network.startswith("cnn") else x.shape[1:]
    there = np.arange(len(x))
    if run.data == "cifar10" and part == "final":
        there = there[5000:]  # the first 5,000 rows are the development part's
    order = numpy_generator(run.seed, "air stopping", run.data).permutation(there)
    count = min(ROWS, round(len(there) / 1.1))
    kept, held = order[:count], order[count : count + HOLDOUT]

    def inputs(rows: np.ndarray) -> Tensor:
        return torch.from_numpy((rows - centre) / scale).reshape(-1, *shape)

    labels, truth = torch.from_numpy(given), torch.from_numpy(whole.truth)
    test = torch.from_numpy(whole.test_truth[:TEST])
    return Rows(
        inputs(x[kept]),
        labels[kept],
        truth[kept],
        (inputs(x[held]), labels[held]),
        (inputs(x_test[:TEST]), test),
        whole.num_classes,
    )


class Trained(NamedTuple):
    """Curves of a training.

    Attributes:
        agreement: Share of training predictions as given: before training, then of each epoch.
        when: Epochs done at each of them.
        holdout: Agreement on the hold-out before training and after each epoch.
        test: Accuracy on the test set, alike.
        right: Share of training predictions that are true, alike.
        clock: Kernel time of the epochs.
    """

    agreement: Tensor
    when: Tensor
    holdout: Tensor
    test: Tensor
    right: Tensor
    clock: Clock


def _share(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((outputs_of(net, x).argmax(1) == y).double().mean())


def _sets(rows: Rows) -> dict[str, tuple[Tensor, Tensor]]:
    return {"holdout": rows.holdout, "test": rows.test, "right": (rows.inputs, rows.truth)}


def _constant(net: nn.Module, rows: Rows, run: Run) -> Trained:
    """Train with SGD at a constant rate, and measure after each epoch."""
    lr, x, given = RATES[run.network], rows.inputs, rows.given
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=MOMENTUM)
    generator = torch_generator(run.seed, "air stopping", "batches")
    path: dict[str, list[float]] = {name: [] for name in ("agreement", "holdout", "test", "right")}
    for epoch in range(EPOCHS + 1):
        net.eval()
        for name, (inputs, labels) in (_sets(rows) | {"agreement": (x, given)}).items():
            path[name].append(_share(net, inputs, labels))
        net.train()
        for batch in torch.randperm(len(x), generator=generator).split(BATCH) if epoch < EPOCHS else ():
            loss = nn.functional.cross_entropy(net(x[batch]), given[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = {name: torch.tensor(values, dtype=torch.float64) for name, values in path.items()}
    clock = Clock((lr,) * EPOCHS, math.ceil(len(x) / BATCH), MOMENTUM)
    return Trained(when=torch.arange(EPOCHS + 1).double(), clock=clock, **found)


def _one_cycle(net: nn.Module, rows: Rows, run: Run) -> Trained:
    """Train by the package's loop, and read its curves as ``selfdistill air RUN`` does."""
    data = from_arrays(rows.inputs.numpy(), rows.given.numpy(), truth=rows.truth.numpy(), form="user")
    assert data.num_classes == rows.classes  # each class is given at least once
    settings = train.Settings(method="cross-entropy", network=run.network, epochs=EPOCHS, seed=run.seed, augment="none")
    settings = settings.resolve(len(data), "cpu")
    before = {name: _share(net, x, y) for name, (x, y) in _sets(rows).items()}
    first = _share(net, rows.inputs, rows.given)
    fitted = fit(data, settings, model=net, evaluations=_sets(rows))
    curves = {name: [before[name], *(e[f"{name}_accuracy"] for e in fitted.curves)] for name in before}
    steps = math.ceil(len(data) / (settings.batch_size or len(data)))
    clock = Clock.of_ends([e["lr"] for e in fitted.curves], steps, settings.momentum)
    found = {name: torch.tensor(values, dtype=torch.float64) for name, values in curves.items()}
    agreement = torch.tensor([first, *(e["agreement"] for e in fitted.curves)], dtype=torch.float64)
    when = torch.tensor([0.0, *(epoch + 0.5 for epoch in range(EPOCHS))], dtype=torch.float64)
    return Trained(agreement, when, clock=clock, **found)


def judged(epoch: float, found: Trained) -> dict[str, Any]:
    """Say what an epoch costs: test accuracy lost against the best epoch, in whole epochs."""
    last = len(found.test) - 1
    at = round(min(epoch, last))
    lost = float(found.test.max() - found.test[at])
    return {"epoch": None if math.isinf(epoch) else round(epoch, 2), "lost": round(lost, 4)}


def fifths(spectrum: Any, residual: Tensor) -> list[float]:
    """Mean energy per direction of the given labels in five equal runs of directions, over that of all."""
    energy = spectrum.coefficients(residual).square().sum(1)
    return [round(float(part.mean() / energy.mean()), 4) for part in energy.tensor_split(5)]


def measure(run: Run, part: str, folder: Path) -> dict[str, Any]:
    """Train once and ask all rules."""
    started = time.process_time()
    rows = draw(run, part, folder)
    net = build(run.network, tuple(rows.inputs.shape[1:]), rows.classes, seed=run.seed)
    start = air.calibrated(net, rows.inputs)
    rates = air.per_step(air.network_kernel()(start, rows.inputs), rows.classes)
    flow = air.Flow(rates, one_hot(rows.given, rows.classes), outputs_of(start, rows.inputs))
    times = flow.times()
    curves = flow.curves(times, rows.given, rows.truth)
    found = (_constant if run.recipe == "constant" else _one_cycle)(net, rows, run)
    since = None if run.recipe == "constant" else found.clock.times[:-1]
    scale = curves.fit_scale(found.clock.times[1:], found.agreement[1:], since).scale
    stops: dict[str, Any] = {}
    assert curves.accuracy is not None
    assert curves.distance is not None
    best = {rule: air.stopping_time(flow, times, rows.given, rule).time for rule in RULES}
    best |= {"accuracy": float(times[curves.accuracy.argmax()]), "truth": float(times[curves.distance.argmin()])}
    for rule, when in best.items():
        level = float(curves.at(when)["agreement"])
        stops |= {
            f"{rule}, clock": judged(found.clock.epoch_of(when), found),
            f"{rule}, fitted": judged(found.clock.epoch_of(when / scale), found),
            f"{rule}, matched": judged(epoch_of_agreement(found.agreement, level, found.when), found),
        }
    guessed = wrong_share(label_noise_variance(rates, flow.targets - flow.begin), rows.classes)
    level = 1 - guessed
    stops["agreement = 1 - told share"] = judged(epoch_of_agreement(found.agreement, level, found.when), found)
    stops["noisy hold-out"] = judged(float(found.holdout.argmax()), found)
    stops["last epoch"] = judged(EPOCHS, found)
    return run._asdict() | {
        "schema": 2,
        "part": part,
        "rows": len(rows.given),
        "classes": rows.classes,
        "wrong": round(float((rows.given != rows.truth).double().mean()), 4),
        "told": round(guessed, 4),
        "fifths": fifths(rates, flow.targets - flow.begin),
        "scale": round(scale, 4),
        "best": int(found.test.argmax()),
        "stops": stops,
        "test": [round(float(v), 4) for v in found.test],
        "agreement": [round(float(v), 4) for v in found.agreement],
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def run_all(part: str, folder: Path, budget: float) -> None:
    """Measure what has no record yet."""
    shown = ("gcv, matched", "gcv, fitted", "last epoch")

    def work(cell: drive.Cell) -> dict[str, Any]:
        return measure(Run(**cell), part, folder) | environment("cpu")

    def line(found: dict[str, Any]) -> str:
        return f"{found['cpu_seconds']} s { ({name: found['stops'][name]['lost'] for name in shown}) }"

    drive.run(TABLE, keyed(part), work, line=line, minutes=budget)


def keyed(part: str) -> dict[str, drive.Cell]:
    """The runs of a part by key."""
    return {", ".join(map(str, (part, *one))): one._asdict() for one in PARTS[part]}


def suite() -> drive.Suite:
    """What is asked for now."""
    return drive.Suite(TABLE, {key: cell for part in PARTS for key, cell in keyed(part).items()}, None)


SIX = tuple(f"{rule}, {way}" for rule in RULES for way in ("fitted", "matched"))
SHOWN = (
    *SIX,
    "gcv, clock",
    "accuracy, fitted",
    "accuracy, matched",
    "agreement = 1 - told share",
    "noisy hold-out",
    "last epoch",
)


def combined(found: dict[str, Any]) -> StoppingEpoch:
    """Combine the six epochs of a record as the package does."""
    epochs = [found["stops"][name]["epoch"] for name in SIX]
    return stopping_epoch([math.inf if one is None else one for one in epochs], len(found["test"]) - 1)


def _family(found: dict[str, Any]) -> str:
    kind = found["noise"].partition("-")[0]
    return kind if kind in {"symmetric", "pair"} else "rules, people, weak models"


def _lost(found: dict[str, Any], name: str) -> float:
    if name != "median of the six":
        return 100 * float(found["stops"][name]["lost"])
    return 100 * (max(found["test"]) - found["test"][round(combined(found).epoch)])


def report(rows: list[dict[str, Any]]) -> str:
    """Tell points of test accuracy lost by each rule, how often the range holds, and what the share is worth."""
    families = ("all", "symmetric", "pair", "rules, people, weak models")
    lines: list[str] = []
    for part in PARTS:
        mine = [r for r in rows if r["part"] == part]
        groups = {f: [r for r in mine if f in {"all", _family(r)}] for f in families}
        heads = [f"{family} ({len(group)})" for family, group in groups.items()]
        lines += [f"{part}: points lost, mean ± standard deviation, worst", "", f"| rule | {' | '.join(heads)} |"]
        lines.append("|---" * (1 + len(heads)) + "|")
        for name in ("median of the six", *SHOWN):
            cells = [[_lost(r, name) for r in group] for group in groups.values()]
            texts = [f"{mean(c):.1f} ± {stdev(c):.1f}, {max(c):.1f}" for c in cells]
            lines.append(f"| {name} | {' | '.join(texts)} |")
        held = sum(combined(r).earliest <= r["best"] <= combined(r).latest for r in mine)
        with_share = [r for r in mine if r["fifths"][1] / r["fifths"][4] <= 1.3]
        within = sum(r["told"] - BELOW <= r["wrong"] <= r["told"] + ABOVE for r in with_share)
        apart = [100 * abs(r["told"] - r["wrong"]) for r in mine if r not in with_share]
        lines += [
            "",
            f"The range holds the best epoch in {held} of {len(mine)}. A share is told in {len(with_share)}; in "
            f"{within} of them the true one is in its range. Withheld in {len(apart)}, where it would be "
            f"{mean(apart):.0f} points off on average, {max(apart):.0f} at worst.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "report"))
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"))
    parser.add_argument("--part", choices=tuple(PARTS), default="development")
    parser.add_argument("--budget", type=float, default=math.inf)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.do == "report":
        print(report([*TABLE.read().values()]))
    else:
        run_all(args.part, args.data, args.budget)


if __name__ == "__main__":
    main()
