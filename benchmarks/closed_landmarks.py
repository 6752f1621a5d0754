"""Landmarks against random features of the same kernel: how many of each does the closed form need?

    python -m benchmarks.closed_landmarks run --data DIR --cache DIR [--seeds 0 1 2]
    python -m benchmarks.closed_landmarks report

Ridge regression of labels of which 40 % are wrong, symmetric, on development data; the ridge is that of least
leave-one-out error. Both kinds of features are drawn anew for each seed. Random features are those of Rahimi & Recht
(2007) for the Gaussian, and for the tangent kernel of one hidden layer its definition as an expectation over weights:
with w, v normal, 1(wx > 0) (vx) and relu(wx).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from benchmarks import drive
from benchmarks.command import run_or_report
from benchmarks.features import cache, data_sets, noise
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed._landmarks import Landmarks
from selfdistill.closed._rounds import ridge_of_least_error
from selfdistill.closed._rows import Rows
from selfdistill.closed._spectrum import Spectrum
from selfdistill.networks._kernel_machine import kernel_rows

TABLE = Table(RECORDS / "closed_landmarks.parquet")
DATA = ("cifar10", "trec", "fashion-10000")
KERNELS = ("rbf", "relu1")
SIZES = (125, 250, 500, 1000, 2000)
MEASURES = {
    "accuracy": "test accuracy, %",
    "ap": "average precision of finding wrong labels, %",
    "error": "leave-one-out error",
    "off": "relative error of the kernel",
}


def random_features(kernel: str, d: int, m: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Draw features whose inner products are the kernel on average."""
    generator = torch.Generator().manual_seed(seed)
    w, v = (torch.randn(d, m // 2, generator=generator) for _ in range(2))
    if kernel == "rbf":  # exp(-2 |x - x'|^2): frequencies of variance 4
        return lambda x: torch.cat([(2 * x @ w).cos(), (2 * x @ w).sin()], 1) / (m / 2) ** 0.5
    return lambda x: torch.cat([(x @ w > 0) * (x @ v), (x @ w).relu()], 1) * (2 / m) ** 0.5


def measure(features: Callable[[Tensor], Tensor], kernel: str, rows: Tensor, test: Tensor, labels: Labels) -> dict:
    """Fit and judge one set of features."""
    given, truth, test_truth = labels
    spectrum = Spectrum(lambda part: features(rows[part]), len(rows))
    targets = torch.nn.functional.one_hot(given).float()
    ridge = ridge_of_least_error(spectrum, targets)
    (scores,) = spectrum.out_of_sample([targets], [ridge])
    weights, offset = spectrum.coefficients(spectrum.solve(*spectrum.learn(targets), ridge))
    predicted = (features(test).double() @ weights + offset).argmax(1)
    own = scores.gather(1, given[:, None])[:, 0]
    margin = own - scores.scatter(1, given[:, None], -torch.inf).amax(1)
    some = rows[:2000]
    gram, near = kernel_rows(kernel, some, some), features(some)
    return {
        "accuracy": 100 * float((predicted == test_truth).float().mean()),
        "ap": 100 * float(average_precision_score((given != truth).numpy(), -margin.numpy())),
        "error": float((scores - targets).square().sum(1).mean()),
        "off": float((near @ near.T - gram).norm() / gram.norm()),
    }


Labels = tuple[Tensor, Tensor, Tensor]


def run(options: argparse.Namespace) -> None:
    """Measure what has no record yet."""
    facts = {name: environment("cpu")[name] for name in ("versions", "hardware")}
    cells = [{"data": name, "seed": seed} for name in DATA for seed in options.seeds]

    def work(cell: drive.Cell) -> dict[str, Any]:
        data = cache.load(cell["data"], "development", options.data, options.cache)
        return cell | facts | {"found": [*compared(data, cell["seed"])]}

    drive.run(TABLE, {f"{cell['data']}, {cell['seed']}": cell for cell in cells}, work)


def compared(data: data_sets.DataSet, seed: int) -> Iterator[dict[str, Any]]:
    """Measure both kinds of features with each kernel and in each number."""
    X, X_test = map(torch.from_numpy, cache.as_arrays(data.train, data.test))
    made = Rows(X, standardise=True, dtype=torch.float32, device=torch.device("cpu"))
    other = Rows(torch.cat([X, X_test]), standardise=True, dtype=torch.float32, device=torch.device("cpu"))
    other.shift, other.factor, other.constant = made.shift, made.factor, made.constant
    rows, test = made(slice(0, len(X))), other(slice(len(X), len(X) + len(X_test)))
    given = torch.from_numpy(noise.draw(data, "symmetric-40", seed))
    labels = given, torch.from_numpy(data.truth), torch.from_numpy(data.test_truth)
    for kernel in KERNELS:
        for m in SIZES:
            chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:m]
            kinds = {
                "landmarks": Landmarks(kernel, rows[chosen]),
                "random features": random_features(kernel, rows.shape[1], m, seed),
            }
            for kind, features in kinds.items():
                found = measure(features, kernel, rows, test, labels)
                yield {"kernel": kernel, "m": m, "kind": kind} | found


def report() -> str:
    """Lay the records out as a table of means over seeds."""
    cells = defaultdict(list)
    for r in TABLE.read().values():
        for one in r["found"]:
            for name in MEASURES:
                cells[r["data"], one["kernel"], name, one["kind"], one["m"]].append(one[name])
    lines = [f"| data, kernel | | {' | '.join(f'{m:,}' for m in SIZES)} |", f"|---|---|{'---|' * len(SIZES)}"]
    for data in DATA:
        for kernel in KERNELS:
            for name, what in MEASURES.items():
                both = []
                for m in SIZES:
                    means = [float(np.mean(cells[data, kernel, name, k, m])) for k in ("landmarks", "random features")]
                    both.append(" : ".join(f"{v:.1f}" if v >= 1 and name != "error" else f"{v:.3f}" for v in means))
                lines.append(f"| {data}, {kernel} | {what} | {' | '.join(both)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_or_report(__doc__, run, report)
