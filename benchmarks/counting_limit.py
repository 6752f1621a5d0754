"""How often the best possible count of wrong labels would come within a tenth.

    python -m benchmarks.counting_limit --data DIR --cache DIR [--only NAME ...]

The counts of two methods that know more than any can. Both know that errors hit all classes alike. The first knows each
row's probability of each class, and only the rate of errors is unknown. The second knows these probabilities up to
their sharpness, one number: how much of the doubt is overlap of classes, and how much is error. The probabilities are
those of the closed form on the true labels, each row without its own. From them come 100 draws of true labels, each
with wrong labels of a rate; rate and sharpness are fitted by maximum likelihood, and the expected number of wrong
labels is compared with the number drawn. What misses by more than a tenth here, no method can be asked to hit on such
rows; real methods must learn the probabilities too. Data of the final part; nothing is chosen by them. Each data
set and rate is a record of ``benchmarks/records/counting_limit.parquet``, which ``benchmarks.features report`` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from benchmarks.features import cache, noise
from benchmarks.features.data_sets import names
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels

TABLE = Table(RECORDS / "counting_limit.parquet")
DRAWS, SEED, ROWS = 100, 0, 10_000


def probabilities(name: str, options: argparse.Namespace) -> np.ndarray:
    """Give each row's probabilities of the true class, which its own label is no part of, ``[n, K]``."""
    data = cache.load(name, "final", Path(options.data), Path(options.cache))
    inputs = np.asarray(cache.as_arrays(data.train, data.test)[0], np.float32)[:ROWS]
    truth = np.asarray(data.truth).astype(np.int64)[:ROWS]
    found = refine_labels(torch.from_numpy(inputs), truth, data.num_classes, rounds=1)
    return found.prior.double().numpy()


def counted(prior: np.ndarray, given: np.ndarray, sharpness: bool) -> float:
    """Expect the number of wrong labels at the rate of most likelihood, and at the sharpness of most likelihood."""
    n, k = prior.shape
    scores, each = np.log(np.maximum(prior, 1e-12)), np.arange(n)

    def right(beta: float) -> np.ndarray:
        if not sharpness:
            return prior[each, given]
        logits = beta * scores
        logits -= logits.max(1, keepdims=True)
        return np.exp(logits[each, given]) / np.exp(logits).sum(1)

    def loss(rate: float, own: np.ndarray) -> float:
        return float(-np.log((1 - rate) * own + rate / (k - 1) * (1 - own) + 1e-300).sum())

    def best(beta: float) -> tuple[float, float]:
        found = minimize_scalar(loss, bounds=(0, (k - 1) / k), args=(right(beta),), method="bounded")
        return float(found.fun), float(found.x)

    beta = 1.0
    if sharpness:
        beta = float(np.exp(minimize_scalar(lambda log: best(np.exp(log))[0], bounds=(-2, 2), method="bounded").x))
    own, rate = right(beta), best(beta)[1]
    wrong = rate / (k - 1) * (1 - own)
    return float((wrong / ((1 - rate) * own + wrong + 1e-300)).sum())


def hits(prior: np.ndarray, rate: float) -> dict[str, float]:
    """Give the share of draws whose count is within a tenth, and the median of the relative errors."""
    rng = np.random.default_rng(SEED)
    n, k = prior.shape
    below = prior.cumsum(1)
    errors = np.empty((DRAWS, 2))
    for i in range(DRAWS):
        truth = np.minimum((rng.random((n, 1)) * below[:, -1:] > below).sum(1), k - 1)
        moved = rng.permutation(n)[: round(rate * n)]
        given = truth.copy()
        given[moved] = (truth[moved] + rng.integers(1, k, size=len(moved))) % k
        errors[i] = [abs(counted(prior, given, sharpness) / len(moved) - 1) for sharpness in (False, True)]
    shares, medians = (errors <= 0.1).mean(0), np.median(errors, 0)
    return {
        "within_a_tenth": float(shares[0]),
        "median_error": float(medians[0]),
        "within_a_tenth_sharpness": float(shares[1]),
        "median_error_sharpness": float(medians[1]),
    }


def main() -> None:
    """Count, and write the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of data sets")
    parser.add_argument("--cache", required=True, help="folder of prepared data")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or names("final"):
        prior = probabilities(name, options)
        data = cache.load(name, "final", Path(options.data), Path(options.cache))
        for kind in noise.kinds(data):
            if not kind.startswith("symmetric-") or kind == "symmetric-0":
                continue
            found = hits(prior, int(kind.removeprefix("symmetric-")) / 100)
            row = {"data": name, "noise": kind, "rows": len(prior), "classes": prior.shape[1]}
            row |= {"confidence": float(prior.max(1).mean())} | found
            print(f"{name:16} {kind:13}", {key: round(value, 3) for key, value in found.items()}, flush=True)
            TABLE.add({f"{name}, {kind}": row | {"draws": DRAWS, "seed": SEED, "environment": environment("cpu")}})


if __name__ == "__main__":
    main()
