"""CPU time of the closed form beside cleanlab's five folds of logistic regression, and its FLOPs against the peak.

    python -m benchmarks.closed_speed --data DIR --cache DIR [--rows 2000 10000] [--turns 5]

Both get the same standardised features (frozen image features, 1,280 columns; development part for 2,000 rows, final
part beyond) with 20 % of the labels wrong, one thread, in one process, turn by turn. FLOPs of matrix products, which
torch counts, and by formula of large and symmetric products, eigenpairs (``9 m^3``), Cholesky factors (``m^3 / 3``),
their inverses and triangular solutions; links, elementary functions of the kernel and passes over memory count as
nothing. The peak is a product of two 2,048 x 2,048 matrices in float32, measured in each turn. Each turn adds a row to
``benchmarks/records/closed_speed.parquet``.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.features import cache, noise
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed import _fold, _landmarks, _prepare, _spectrum, refine_labels

TABLE = Table(RECORDS / "closed_speed.parquet")
NOISE = "symmetric-20"


def problem(n: int, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, int]:
    """Give standardised features, given labels and the number of classes."""
    data = cache.load("cifar10", "development" if n <= 2000 else "final", Path(options.data), Path(options.cache))
    X = np.asarray(cache.as_arrays(data.train, data.test)[0], np.float32)[:n]
    given = np.asarray(noise.draw(data, NOISE, 0)).astype(np.int64)[:n]
    return (X - X.mean(0)) / (X.std(0) + 1e-9), given, data.num_classes


def cleanlab(X: np.ndarray, given: np.ndarray, tuned: bool) -> None:
    """Find label issues as cleanlab's documentation does, with scikit-learn's logistic regression."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    model = LogisticRegression(max_iter=1000, C=0.01 if tuned else 1.0)
    probabilities = cross_val_predict(model, X, given, cv=5, method="predict_proba")
    find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)


def seconds(job: Callable[[], Any]) -> float:
    """CPU time of a job."""
    began = time.process_time()
    job()
    return time.process_time() - began


def peak(m: int = 2048, times: int = 8) -> float:
    """FLOPs a second of a product of two matrices."""
    one = torch.rand(m, m)
    one @ one
    return times * 2 * m**3 / seconds(lambda: [one @ one for _ in range(times)])


def cube(share: float) -> Callable[..., float]:
    """FLOPs of a factorisation, as a share of ``m^3``."""
    return lambda matrix, *_, **__: share * matrix.shape[-1] ** 3


def triangular(matrix: torch.Tensor, right: torch.Tensor, **_: Any) -> float:
    """FLOPs of a triangular solution."""
    return matrix.shape[-1] * right.numel()


FORMULAS: tuple[tuple[Any, str, str, Callable[..., float]], ...] = (  # what torch's counter does not see
    (_spectrum, "eigenpairs", "eigenpairs", cube(9)),
    (_prepare, "cholesky", "Cholesky", cube(1 / 3)),
    (_fold, "cholesky", "Cholesky", cube(1 / 3)),
    (lapack, "spstrf", "Cholesky", cube(1 / 3)),
    (_prepare, "inverse_lower", "inverses", cube(1 / 3)),
    (_fold, "inverse_lower", "inverses", cube(1 / 3)),
    (_landmarks, "product", "large products", lambda rows, columns: 2 * rows.numel() * columns.shape[1]),
    (_spectrum, "product", "large products", lambda rows, columns: 2 * rows.numel() * columns.shape[1]),
    (_landmarks, "solve_lower", "solutions", triangular),
    (_fold, "solve_lower", "solutions", triangular),
    (torch.linalg, "solve_triangular", "solutions", triangular),
    (torch, "cholesky_solve", "solutions", lambda right, matrix, **_: 2 * triangular(matrix, right)),
    (_prepare, "gram", "symmetric products", lambda rows: len(rows) * rows.numel()),
    (_landmarks, "gram", "symmetric products", lambda rows: len(rows) * rows.numel()),
    (_fold, "gram", "symmetric products", lambda rows: len(rows) * rows.numel()),
    (_spectrum, "second_moment", "symmetric products", lambda rows, *_: len(rows) * rows.shape[1] ** 2),
)


@contextlib.contextmanager
def counted(flops: dict[str, float]) -> Generator[None]:
    """Count FLOPs: products by torch's counter, the others by formula."""

    def counting(kept: Callable[..., Any], name: str, formula: Callable[..., float]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            flops[name] = flops.get(name, 0.0) + formula(*args, **kwargs)
            return kept(*args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for place, attribute, name, formula in FORMULAS:
            counter = counting(getattr(place, attribute), name, formula)
            stack.enter_context(mock.patch.object(place, attribute, counter))
        products = stack.enter_context(FlopCounterMode(display=False))
        try:
            yield
        finally:
            flops["products"] = float(products.get_total_flops())


def turns(n: int, options: argparse.Namespace) -> Generator[dict[str, Any]]:
    """Measure all side by side, some times over."""
    X, given, k = problem(n, options)
    refine_labels(torch.from_numpy(X[:300]), given[:300], k)  # libraries are loaded
    flops: dict[str, float] = {}
    with counted(flops):
        refine_labels(torch.from_numpy(X), given, k)
    jobs: dict[str, Callable[[], Any]] = {
        "ours": lambda: refine_labels(torch.from_numpy(X), given, k),
        "cleanlab, C = 1": lambda: cleanlab(X, given, tuned=False),
        "cleanlab, C = 0.01": lambda: cleanlab(X, given, tuned=True),
    }
    for turn in range(options.turns):
        spent = {name: seconds(job) for name, job in jobs.items()}
        top = peak()
        share = sum(flops.values()) / spent["ours"] / top
        times = ", ".join(f"{name} {value:.2f} s" for name, value in spent.items())
        print(f"{n:,} rows: {times}; {spent['cleanlab, C = 1'] / spent['ours']:.1f} times; {share:.0%} of the peak")
        about = {"n": n, "d": X.shape[1], "k": k, "noise": NOISE, "turn": turn}
        about |= {name: environment("cpu")[name] for name in ("versions", "hardware")}
        yield about | {"cpu_s": spent, "flops": flops, "peak_flops_per_s": top, "of_peak": share}


def main() -> None:
    """Measure and add to the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for n in options.rows:
            for record in turns(n, options):
                TABLE.append([record])


if __name__ == "__main__":
    main()
