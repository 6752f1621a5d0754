"""What the leading directions of a CNN's kernel hold: true labels, noise and random labels, along training.

    python -m benchmarks.air_fashion FASHION [--runs 3] [--examples 2000] [--train 10000] [--epochs 40]

FASHION is a folder of Fashion-MNIST's IDX files; 40 % of the labels become another class, evenly. A small CNN is
trained with SGD and cross-entropy; at initialisation and after some epochs its kernel (trace over the logits) is taken
on a subset of the training examples. Writes ``benchmarks/records/air_fashion.json`` and, as its figure,
``docs/pictures/air-fashion.png``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from selfdistill import air, noise
from selfdistill._core.files import read_json, write_json
from selfdistill._core.record import environment
from selfdistill.air._measures import random_captured
from selfdistill.air._snapshot import Examples, outputs_of, snapshot
from selfdistill.data._read import read, read_test
from selfdistill.networks._build import build

RECORD = Path(__file__).parent / "records" / "air_fashion.json"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "air-fashion.png"
NETWORK, RATE, LR, MOMENTUM, BATCH, TEST = "cnn", 0.4, 0.02, 0.9, 128, 5000
RANKS = (10, 100, 1000)
MOMENTS = (0, 1, 2, 5, 10, 20, 40)


def one_run(fashion: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train once, measuring at the moments."""
    images = read(fashion)
    held_out = read_test(None, images, source=fashion)
    assert held_out is not None
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    chosen, size = order[: args.train], args.examples
    matrix = noise.symmetric(10, RATE, include_clean=False)
    x, truth = images.inputs[chosen], images.labels[chosen]
    given = noise.draw(truth, matrix, seed).labels
    examples = Examples(x[:size], given[:size], 10, truth[:size], matrix)
    net = build(NETWORK, tuple(x.shape[1:]), 10, seed=seed, stats=images.preprocess.stats)
    optimizer = torch.optim.SGD(net.parameters(), LR, momentum=MOMENTUM)
    generator, first, found = torch.Generator().manual_seed(seed), None, []
    for epoch in range(args.epochs + 1):
        if epoch in MOMENTS:
            started = time.perf_counter()
            frozen = air.calibrated(net, x[:2000]) if epoch == 0 else air.calibrated(net, x)
            spectrum = air.network_kernel()(frozen, examples.inputs)
            seconds = time.perf_counter() - started
            shot = snapshot(
                f"epoch {epoch}", frozen, examples, spectrum, epoch=epoch, ranks=RANKS, first=first, seconds=seconds
            )
            chance = random_captured(spectrum, examples.given, 10, RANKS, draws=20)
            first = first or spectrum
            test = outputs_of(frozen, held_out[0][:TEST]).argmax(1) == held_out[1][:TEST]
            spread = {"random_mean": chance.mean.tolist(), "random_std": chance.std.tolist()}
            found.append(asdict(shot) | spread | {"test_accuracy": float(test.double().mean())})
            print(
                f"seed {seed} epoch {epoch}: {shot.energy} chance {shot.chance}, test {found[-1]['test_accuracy']:.3f}"
            )
        net.train()
        for batch in torch.randperm(len(x), generator=generator).split(BATCH) if epoch < args.epochs else ():
            loss = nn.functional.cross_entropy(net(x[batch]), given[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {"seed": seed, "moments": found}


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the runs, moment by moment."""
    rows = []
    for moments in zip(*(run["moments"] for run in runs), strict=True):
        row: dict[str, Any] = {"epoch": moments[0]["epoch"], "ranks": list(RANKS)}
        columns = {part: [m["energy"][part] for m in moments] for part in ("clean", "noise", "given")}
        columns |= {"random": [m["random_mean"] for m in moments]}
        columns |= {name: [[m[name]] for m in moments] for name in ("agreement", "accuracy", "test_accuracy")}
        columns["drift"] = [[m["drift"] or 0.0] for m in moments]
        columns["effective_rank"] = [[m["effective_rank"]["entropy"]] for m in moments]
        for name, values in columns.items():
            table = np.array(values, dtype=float)
            spread = table.std(0, ddof=1) if len(table) > 1 else np.zeros(table.shape[1])
            row[name] = {"mean": table.mean(0).round(5).tolist(), "std": spread.round(5).tolist()}
        rows.append(row)
    return rows


def picture(record: dict[str, Any]) -> None:
    """Draw shares at each rank against epochs."""
    style = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(7.0, 2.4), layout="constrained")
        all_axes = figure.subplots(1, len(RANKS), sharey=True)
        rows = record["summary"]
        at = np.arange(len(rows))
        for i, (rank, axes) in enumerate(zip(RANKS, all_axes, strict=True)):
            for part, color, style_of, label in (
                ("clean", "#0072B2", "-o", "true labels"),
                ("noise", "#D55E00", "--s", "noise"),
                ("random", "#7F7F7F", ":", "random labels"),
            ):
                mean = 100 * np.array([row[part]["mean"][i] for row in rows])
                spread = 100 * np.array([row[part]["std"][i] for row in rows])
                axes.errorbar(at, mean, spread, fmt=style_of, color=color, markersize=3, label=label, linewidth=1.2)
            axes.set(xlabel="epochs trained", ylim=(0, 100))
            axes.set_title(f"top {rank:,} of {record['settings']['examples']:,} directions", fontsize=8)
            axes.set_xticks(at, [str(row["epoch"]) for row in rows])
        all_axes[0].set_ylabel("energy captured (%)")
        all_axes[0].legend(loc="upper right", fontsize=7)
        figure.savefig(PICTURE, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fashion")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--redraw", action="store_true", help="draw the figure from the record")
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args()
    if args.redraw:
        picture(read_json(args.record))
        return
    torch.set_num_threads(1)
    runs = []
    for seed in range(args.runs):
        runs.append(one_run(args.fashion, seed, args))
        settings = {"examples": args.examples, "train": args.train, "epochs": args.epochs, "network": NETWORK}
        settings |= {"wrong": RATE, "lr": LR, "momentum": MOMENTUM, "batch": BATCH, "data": "Fashion-MNIST"}
        record = {"schema": 1, "settings": settings, "summary": summary(runs), "runs": runs} | environment("cpu")
        write_json(args.record, record)


if __name__ == "__main__":
    main()
