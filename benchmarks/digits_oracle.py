"""Four ways to train on digits with 40 % of the labels drawn anew, in the kernel regime: 20,000 steps of each.

    python -m benchmarks.digits_oracle [--steps 20000] [--threads 1]

All 1,797 digits of scikit-learn, the analytic kernel of a two-layer ReLU network, one fixed draw of noise. Writes
``benchmarks/records/digits_oracle.json`` and ``docs/pictures/digits_oracle.png``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill.theory import Spectrum, gradient_descent, hard_distillation, relu_kernel, soft_distillation

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "records" / "digits_oracle.json"
FIGURE = ROOT / "docs" / "pictures" / "digits_oracle.png"
RANKS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)
STEPS = (10, 100, 300, 1_000, 3_000, 10_000, 20_000)
RAMP = 2_000
STYLES = {  # Okabe and Ito's colours; dashes for those who print in grey
    "plain": ("#000000", "-", "given labels alone"),
    "linear": ("#E69F00", "--", "own soft outputs, scheduled"),
    "hard": ("#0072B2", "-", "own hard labels, scheduled"),
    "agreement": ("#D55E00", "-.", "own hard labels, weight = agreement"),
}


def digits() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Inputs of unit norm, true labels, given labels."""
    from sklearn.datasets import load_digits

    pixels, truth = load_digits(return_X_y=True)
    x = pixels / 16
    x = x - x.mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    flip = rng.random(len(truth)) < 0.4
    given = truth.copy()
    given[flip] = rng.integers(0, 10, flip.sum())
    return torch.tensor(x), truth, given


def energies(spectrum: Spectrum, z: torch.Tensor) -> list[float]:
    """Share of the centred columns' energy in the leading eigenvectors."""
    centred = z - z.mean(0)
    per = (spectrum.coefficients(centred) ** 2).sum(1)
    return [float(per[:k].sum() / (centred**2).sum()) for k in RANKS]


def curves(spectrum: Spectrum, given: torch.Tensor, steps: int, record: list[int]) -> dict[str, dict[str, Any]]:
    """Train all four; outputs at the recorded steps, seconds, and how many outputs were looked at."""
    lr = 1 / float(spectrum.values[0])
    ramp = torch.clamp(torch.arange(1, steps + 1, dtype=torch.float64) / RAMP, max=1)
    weights = {"hard": ramp, "agreement": lambda step, agreement: agreement}
    found: dict[str, dict[str, Any]] = {}
    for name in STYLES:
        started, busy = time.perf_counter(), time.process_time()
        entry: dict[str, Any] = {}
        if name == "plain":
            entry["outputs"] = gradient_descent(spectrum, given, lr, record)
        elif name == "linear":
            entry["outputs"] = soft_distillation(spectrum, given, lr, ramp, record)
        else:
            trace = hard_distillation(spectrum, given, lr, steps, weights[name], record=record)
            entry["outputs"] = trace.outputs
            entry |= {"rows_evaluated": trace.rows_evaluated, "rows_plain": spectrum.size * steps, "flips": trace.flips}
            n, c = given.shape
            entry["gflop"] = (2 * n * c * (trace.rows_evaluated + trace.flips) + 7 * n * c * steps) / 1e9
            entry["gflop_plain"] = 2 * n * n * c * steps / 1e9
        found[name] = entry | {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - busy}
    return found


def measure(outputs: torch.Tensor, truth: torch.Tensor) -> dict[str, list[float]]:
    """Distance to the truth per example, and share of argmax that is right, per recorded step."""
    distance = (outputs - truth).flatten(1).norm(dim=1) / len(truth) ** 0.5
    right = (outputs.argmax(-1) == truth.argmax(-1)).double().mean(1)
    return {"distance": distance.tolist(), "right": right.tolist()}


def draw(steps: list[int], result: dict[str, Any]) -> None:
    """Draw both measures over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    for name, (colour, dash, label) in STYLES.items():
        left.plot(steps, result[name]["distance"], dash, color=colour, label=label)
        right.plot(steps, [100 * r for r in result[name]["right"]], dash, color=colour)
    left.set(xscale="log", xlabel="step of gradient descent", ylabel="distance to the true labels, per example", ylim=0)
    right.set(xscale="log", xlabel="step of gradient descent", ylabel="examples predicted rightly (%)", ylim=(60, 100))
    left.legend(frameon=False, fontsize=8, loc="lower left")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=150)
    plt.close(figure)


def main() -> None:
    """Parse the command line, train, write record and figure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS[-1])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    inputs, truth, given = digits()
    clean, noisy = (torch.eye(10, dtype=torch.float64)[z] for z in (truth, given))
    started, busy = time.perf_counter(), time.process_time()
    kernel = relu_kernel(inputs) / len(inputs)
    kernel_seconds = time.perf_counter() - started
    spectrum = Spectrum.of(kernel)
    setup = {"kernel": kernel_seconds, "spectrum": time.perf_counter() - started - kernel_seconds}
    setup["cpu"] = time.process_time() - busy
    grid = np.unique(np.geomspace(1, arguments.steps, 80).round().astype(int)).tolist()
    record = sorted({*grid, *(s for s in STEPS if s <= arguments.steps)})
    raw = curves(spectrum, noisy, arguments.steps, record)
    result = {name: measure(entry.pop("outputs"), clean) | entry for name, entry in raw.items()}
    energy = {"ranks": RANKS, "clean": energies(spectrum, clean), "noise": energies(spectrum, noisy - clean)}
    changed, largest = float((truth != given).mean()), float(spectrum.values[0])
    write_json(
        RECORD,
        {"schema": 1, **vars(arguments), "changed": changed, "largest_eigenvalue": largest, "seconds": setup}
        | {"energy": energy, "recorded": record, "runs": result}
        | environment("cpu"),
    )
    draw(record, result)
    report(record, result, energy, setup)


def report(record: list[int], result: dict[str, Any], energy: dict[str, Any], setup: dict[str, float]) -> None:
    """Print the tables as the documentation shows them."""
    print("| k | " + " | ".join(f"{k:,}" for k in energy["ranks"]) + " |")
    for name in ("clean", "noise"):
        print(f"| {name} | " + " | ".join(f"{e:.3f}" for e in energy[name]) + " |")
    print("| step | " + " | ".join(STYLES) + " |")
    for step in (s for s in STEPS if s in record):
        i = record.index(step)
        cells = [f"{result[m]['distance'][i]:.3f} {result[m]['right'][i]:.3f}" for m in STYLES]
        print(f"| {step:,} | " + " | ".join(cells) + " |")
    print(f"kernel {setup['kernel']:.2f} s, spectrum {setup['spectrum']:.2f} s ({setup['cpu']:.2f} s of CPU)")
    for name in STYLES:
        r = result[name]
        saved = f", {r['rows_evaluated']:,} of {r['rows_plain']:,} rows" if "rows_plain" in r else ""
        saved += f", {r['gflop']:.1f} of {r['gflop_plain']:.0f} GFLOP" if "rows_plain" in r else ""
        print(f"{name}: {r['seconds']:.2f} s ({r['cpu_seconds']:.2f} s of CPU){saved}")


if __name__ == "__main__":
    main()
