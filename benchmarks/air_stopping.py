"""When to stop training on noisy labels: estimates from the kernel at initialisation, against real training runs.

    python -m benchmarks.air_stopping FASHION [--runs 3] [--examples 2000] [--epochs 50]

FASHION is a folder of Fashion-MNIST's IDX files. Trains an MLP and a small CNN with SGD and cross-entropy on a subset
with wrong labels, measures after each epoch, and asks every rule of ``air.stopping_time`` when to stop. A time becomes
an epoch in three ways: by the clock (learning rate x steps), by the clock times one factor fitted to the measured
agreement curve, and at the agreement that the kernel predicts for that time. Writes
``benchmarks/records/air_stopping.json``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfdistill import air, data, networks, noise
from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill.data import LabelledData

RECORD = Path(__file__).parent / "records" / "air_stopping.json"
NETWORKS = {"mlp:512,512": 0.01, "cnn:8,16,32": 0.01}  # with the learning rate
NOISE = {"symmetric 20 %": 0.2, "symmetric 40 %": 0.4, "symmetric 60 %": 0.6, "pair 30 %": 0.3}
BATCH, MOMENTUM, TEST = 64, 0.9, 5000


def shares(net: nn.Module, sets: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Share of predictions equal to the labels, on each set."""
    net.eval()
    known: dict[int, Tensor] = {}
    for x, _ in sets:
        if id(x) not in known:
            known[id(x)] = air.outputs_of(net, x).argmax(1)
    net.train()
    return [float((known[id(x)] == y).double().mean()) for x, y in sets]


def train(
    net: nn.Module, x: Tensor, given: Tensor, sets: list[tuple[Tensor, Tensor]], epochs: int, lr: float, seed: int
) -> Tensor:
    """Train with SGD at a constant rate; the shares before and after each epoch, ``[epochs + 1, sets]``."""
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=MOMENTUM)
    generator, rows = torch.Generator().manual_seed(seed), [shares(net, sets)]
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(net(x[batch]), given[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rows.append(shares(net, sets))
    return torch.tensor(rows, dtype=torch.float64)


def rules(given: Tensor, truth: Tensor, matrix: Tensor) -> dict[str, dict[str, Any]]:
    """What each rule may know."""
    return {
        "accuracy (truth known)": {"rule": "accuracy", "truth": truth},
        "distance (truth known)": {"rule": "truth", "truth": truth},
        "variance (noise known)": {"rule": "variance", "variance": air.noise_variance(matrix)},
        "variance": {"rule": "variance"},
        "gcv": {"rule": "gcv"},
        "left-out": {"rule": "left-out"},
    }


def judged(epoch: float, measured: Tensor) -> dict[str, Any]:
    """Error of an epoch: against the one of best test accuracy, and the accuracy lost by it."""
    test, right, last = measured[:, 2], measured[:, 1], len(measured) - 1
    at = round(min(epoch, last))
    return {
        "epoch": None if math.isinf(epoch) else round(epoch, 2),
        "epochs_off": round(min(epoch, last) - int(test.argmax()), 2),
        "test_lost": round(float(test.max() - test[at]), 4),
        "train_lost": round(float(right.max() - right[at]), 4),
    }


def one_run(
    images: LabelledData, test: tuple[Tensor, Tensor], spec: str, kind: str, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Train once and ask all rules."""
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: args.examples]
    x, truth, rate, classes = images.inputs[chosen], images.labels[chosen], NOISE[kind], images.num_classes
    symmetric = kind.startswith("symmetric")
    matrix = noise.symmetric(classes, rate, include_clean=False) if symmetric else noise.pair(classes, rate)
    given = noise.draw(truth, matrix, seed).labels
    net = networks.build(spec, tuple(x.shape[1:]), classes, seed=seed, stats=images.preprocess.stats)
    begun = time.perf_counter()
    first = air.calibrated(net, x)
    rates = air.per_step(air.network_kernel()(first, x), classes)
    flow = air.Flow(rates, air.one_hot(given, classes), air.outputs_of(first, x))
    times = air.default_times(rates)
    curves = air.predicted_curves(flow, times, given, truth)
    kernel_seconds = time.perf_counter() - begun
    lr = NETWORKS[spec]
    measured = train(net, x, given, [(x, given), (x, truth), test], args.epochs, lr, seed)
    clock = air.Clock((lr,) * args.epochs, math.ceil(len(x) / BATCH), MOMENTUM)
    fit = air.fit_scale(curves, clock.times[1:], measured[1:, 0])
    wrong = float((given != truth).double().mean())
    guessed = air.wrong_share(air.label_noise_variance(rates, flow.targets - flow.begin), classes)
    found = {}
    for name, known in rules(given, truth, matrix).items():
        stop = air.stopping_time(flow, times, given, **known)
        level = curves.at(stop.time)["agreement"]
        found[name] = {
            "time": stop.time,
            "agreement": level,
            "clock": judged(clock.epoch_of(stop.time), measured),
            "fitted": judged(clock.epoch_of(stop.time / fit.scale), measured),
            "matched": judged(air.epoch_of_agreement(measured[:, 0], level), measured),
        }
    plain = {
        "last epoch": judged(args.epochs, measured),
        "agreement = 1 - known share": judged(air.epoch_of_agreement(measured[:, 0], 1 - wrong), measured),
        "agreement = 1 - guessed share": judged(air.epoch_of_agreement(measured[:, 0], 1 - guessed), measured),
    }
    return {
        "network": spec,
        "noise": kind,
        "seed": seed,
        "wrong": wrong,
        "wrong_guessed": guessed,
        "scale": fit._asdict(),
        "best": {"epoch": int(measured[:, 2].argmax()), "test": float(measured[:, 2].max())},
        "predicted_best_train": float(curves.accuracy.low.max()) if curves.accuracy else None,
        "best_train": float(measured[:, 1].max()),
        "kernel_seconds": kernel_seconds,
        "rules": found,
        "plain": plain,
        "measured": [[round(v, 4) for v in row] for row in measured.tolist()],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the errors of each rule and way, over the runs of each network and noise."""
    found: dict[str, Any] = {}
    for run in runs:
        errors = {
            f"{rule}, {way}": one[way] for rule, one in run["rules"].items() for way in ("clock", "fitted", "matched")
        }
        for rule, error in (errors | run["plain"]).items():
            for where in (
                f"{run['network']}, {run['noise']}",
                "all symmetric" if "sym" in run["noise"] else "all pair",
            ):
                found.setdefault(where, {}).setdefault(rule, []).append(error)
    for rules_of in found.values():
        for rule, errors in rules_of.items():
            columns = {}
            for key in ("epochs_off", "test_lost", "train_lost"):
                values = torch.tensor([float(error[key]) for error in errors], dtype=torch.float64)
                spread = float(values.std()) if len(values) > 1 else 0.0
                columns[key] = {"mean": round(float(values.mean()), 4), "std": round(spread, 4), "runs": len(values)}
            rules_of[rule] = columns
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fashion")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = data.read(args.fashion)
    held_out = data.read_test(None, images, source=args.fashion)
    assert held_out is not None
    test, runs = (held_out[0][:TEST], held_out[1][:TEST]), []
    for seed in range(args.runs):
        for spec in NETWORKS:
            for kind in NOISE:
                runs.append(one_run(images, test, spec, kind, seed, args))
                best, rule = runs[-1]["best"], runs[-1]["rules"]["variance"]
                print(f"{spec} {kind} seed {seed}: best {best}, variance {rule['matched']}", flush=True)
        settings = {"examples": args.examples, "epochs": args.epochs, "batch": BATCH, "momentum": MOMENTUM}
        settings |= {"networks": NETWORKS, "test_examples": TEST, "data": "Fashion-MNIST"}
        record = {"schema": 1, "settings": settings, "summary": summary(runs), "runs": runs}
        write_json(args.record, record | environment("cpu"))


if __name__ == "__main__":
    main()
