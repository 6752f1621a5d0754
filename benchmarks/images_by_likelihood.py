"""The closed form on pixels beside the default network for images, and whether likelihood picks the better.

    python -m benchmarks.images_by_likelihood --data DIR [--only NAME ...] [--noise KIND ...]

``DIR`` holds ``fashion-mnist`` (IDX files, plain or packed) and ``cifar10`` (``data_batch_*.bin``). Development images
only: those of Fashion-MNIST from 40,000 on, of CIFAR-10 from 10,000 on; 5,000 others measure accuracy. Both methods get
the same images; the closed form sees pixels as one row. The likelihood of given labels that a method has not seen is
leave-one-out for the closed form; for the network a second training on four fifths says it of the last fifth, through
the noise matrix that it found, at the temperature of most likelihood (which flatters the network). One seed. Each cell
is a record of ``benchmarks/records/images_by_likelihood.parquet``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from benchmarks.features import noise
from benchmarks.features.data_sets import DataSet, _idx
from benchmarks.features.measure import measure
from benchmarks.table import RECORDS, Table
from selfdistill import SelfDistillClassifier
from selfdistill._core.record import environment

TABLE = Table(RECORDS / "images_by_likelihood.parquet")
KINDS = ("symmetric-0", "symmetric-20", "symmetric-40", "pair-40")
SEED, TEST = 0, 5_000


def fashion(data: Path, rows: int) -> DataSet:
    """Grey images of clothes, ``[n, 1, 28, 28]``."""
    folder = data / "fashion-mnist"
    pixels = _idx(folder, "train-images-idx3-ubyte").reshape(-1, 1, 28, 28)
    truth = _idx(folder, "train-labels-idx1-ubyte").astype(np.int64)
    train, test = slice(40_000, 40_000 + rows), slice(50_000, 50_000 + TEST)
    return DataSet(f"fashion-{rows}", "development", pixels[train], truth[train], pixels[test], truth[test], "MIT")


def cifar(data: Path, rows: int) -> DataSet:
    """Colour photos, ``[n, 3, 32, 32]``."""
    raw = np.concatenate([np.fromfile(data / "cifar10" / f"data_batch_{i}.bin", np.uint8) for i in (2, 3, 4)])
    records = raw.reshape(-1, 3_073)
    pixels, truth = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
    test = slice(20_000, 20_000 + TEST)
    return DataSet(f"cifar10-{rows}", "development", pixels[:rows], truth[:rows], pixels[test], truth[test], "")


DATA = {
    "fashion-2000": lambda data: fashion(data, 2_000),
    "fashion-5000": lambda data: fashion(data, 5_000),
    "fashion-10000": lambda data: fashion(data, 10_000),
    "cifar10-2000": lambda data: cifar(data, 2_000),
    "cifar10-5000": lambda data: cifar(data, 5_000),
    "cifar10-10000": lambda data: cifar(data, 10_000),
}


def unseen_nats(fitted: SelfDistillClassifier, inputs: np.ndarray, given: np.ndarray) -> float:
    """Say how badly a network explains given labels that it has not seen, nats per label."""
    scores = np.log(np.maximum(fitted.predict_proba(inputs), 1e-12))
    matrix = np.asarray(fitted.label_table_.noise.noise_matrix)

    def loss(log_sharpness: float) -> float:
        logits = np.exp(log_sharpness) * scores
        clean = np.exp(logits - logits.max(1, keepdims=True))
        clean /= clean.sum(1, keepdims=True)
        return float(-np.log(np.maximum((clean * matrix[:, given].T).sum(1), 1e-12)).mean())

    return min(loss(0.0), float(minimize_scalar(loss, bounds=(-3, 1), method="bounded").fun))


def compare(data: DataSet, kind: str) -> dict[str, Any]:
    """Fit both on the same labels, and the network once more on four fifths."""
    given = noise.draw(data, kind, SEED)
    found: dict[str, Any] = {}
    for name, method in (("kernel", "kernel"), ("network", "auto")):
        start = time.process_time()
        train, test = (x.reshape(len(x), -1) if name == "kernel" else x for x in (data.train, data.test))
        one = SelfDistillClassifier(method=method, random_state=SEED).fit(train, given)
        answer = {
            "predicted": one.predict(test),
            "quality": one.label_quality_,
            "flagged": one.get_label_issues()["is_label_issue"].to_numpy(),
            "expected_wrong": float(one.label_table_.noise.wrong),
        }
        found[name] = measure(answer, data.truth, given, data.test_truth) | {"cpu_seconds": time.process_time() - start}
        found[name]["trust"] = one.trust_.verdict
        if one.closed_ is not None:
            found[name]["nats"] = float(one.closed_.nats)
    order = np.random.default_rng(SEED).permutation(len(given))
    seen, unseen = order[len(order) // 5 :], order[: len(order) // 5]
    part = SelfDistillClassifier(method="auto", random_state=SEED).fit(data.train[seen], given[seen])
    found["network"]["nats"] = unseen_nats(part, data.train[unseen], given[unseen])
    return found


def main() -> None:
    """Measure what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of data sets")
    parser.add_argument("--only", nargs="*", default=list(DATA), help="names of data sets")
    parser.add_argument("--noise", nargs="*", default=list(KINDS), help="kinds of noise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        data = DATA[name](options.data)
        for kind in options.noise:
            if (key := f"{name}, {kind}") in TABLE.read():
                continue
            found = compare(data, kind)
            print(key, {one: {k: found[one][k] for k in ("accuracy", "auroc", "nats")} for one in found}, flush=True)
            TABLE.add({key: {"data": name, "noise": kind, "seed": SEED, **found, "environment": environment("cpu")}})


if __name__ == "__main__":
    main()
