"""What 32 bit cost: leave-one-out scores of ridge regression on many rows against those in 64 bit.

    python -m benchmarks.closed_precision --cache DIR [--rows 20000 100000]

Rows are those of the development part of fashion-10000, repeated with 5 % of noise on each number: real images, whose
kernel has few large and many small eigenvalues, as often as it takes. 40 % of the labels are wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from selfdistill.closed import Landmarks, Spectrum, _spectrum, choose_landmarks
from selfdistill.closed._moments import without_itself
from selfdistill.closed._rows import Rows

CPU = torch.device("cpu")
WAYS = {
    "64 bit": (torch.float64, True),
    "32 bit, eigenpairs 64": (torch.float32, True),
    "32 bit": (torch.float32, False),
}


def repeated(cache: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Make rows and labels."""
    with np.load(cache / "fashion-10000.development.npz") as file:
        X, truth = file["X_train"], file["y_true"]
    rng = np.random.default_rng(0)
    again = np.arange(n) % len(X)
    inputs = np.empty((n, X.shape[1]), np.float32)
    for start in range(0, n, 10_000):
        part = X[again[start : start + 10_000]]
        inputs[start : start + 10_000] = part * (1 + 0.05 * rng.standard_normal(part.shape, np.float32))
    labels = np.where(rng.random(n) < 0.4, (truth[again] + rng.integers(1, 10, n)) % 10, truth[again])
    return inputs, labels


def spectrum(inputs: np.ndarray, targets: Tensor, kernel: str, way: str) -> Spectrum:
    """Factorise in one of the ways; the landmarks' own eigenpairs are those of 64 bit in each."""
    dtype, wide = WAYS[way]
    _spectrum._WIDE_ROWS = 0 if wide else 10**9
    rows = Rows(inputs, standardise=True, dtype=dtype, device=CPU)
    exact = Rows(inputs, standardise=True, dtype=torch.float64, device=CPU)
    marks = Landmarks(kernel, exact(choose_landmarks(len(inputs), 1000)))
    marks.rows, marks.whiten = marks.rows.to(dtype), marks.whiten.to(dtype)
    given = targets.to(dtype)
    return Spectrum(lambda part: marks(rows(part)), len(inputs), keep=False, targets=lambda part: given[part])


def scores(one: Spectrum, targets: Tensor, ridge: float, some: Tensor) -> Tensor:
    """Leave-one-out scores of some rows, float64."""
    assert one.first is not None
    z = one.at(some)
    hats = one.leverages(some, z, [ridge])[ridge]
    return without_itself(one.solve(one.first, ridge)(z), targets[some].to(z.dtype), hats).double()


def main() -> None:
    """Print a table: root mean square of the difference, over that of the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    options = parser.parse_args()
    print("| rows | kernel | largest / smallest eigenvalue | ridge | 32 bit, eigenpairs 64 | 32 bit |")
    print("|---|---|---|---|---|---|")
    for n in options.rows:
        inputs, labels = repeated(options.cache, n)
        targets = torch.nn.functional.one_hot(torch.from_numpy(labels), 10).double()
        some = choose_landmarks(n, 4000)
        for kernel in ("relu3", "linear"):
            made = {way: spectrum(inputs, targets, kernel, way) for way in WAYS}
            exact = made.pop("64 bit")
            values = f"{float(exact.values[0]):,.0f} / {float(exact.values[-1]):.2g}"
            for times in (1 / 16, 1, 16):
                ridge = exact.scale * times
                right = scores(exact, targets, ridge, some)
                spread = (right - right.mean(0)).square().mean().sqrt()
                off = [(scores(one, targets, ridge, some) - right).square().mean().sqrt() for one in made.values()]
                shown = " | ".join(f"{float(one / spread):.1e}" for one in off)
                print(f"| {n:,} | {kernel} | {values} | {ridge:.3f} | {shown} |")


if __name__ == "__main__":
    main()
