"""Several annotators: shares of votes, votes as such, and the majority's label, beside cleanlab's consensus.

    python -m benchmarks.votes --data DIR --cache DIR [--only NAME ...] [--seeds 3]

Development rows alone. ``cifar10n`` has the three human labels of CIFAR-10N, 3,000 of 5,000 training images (features
of EfficientNet-Lite0), tested on 1,000 others. All other sets have five simulated annotators who draw 20 to 60 % of
their labels anew: ``apart`` each by itself; ``alike`` on the same rows, where they often take the same wrong class.
``half``: each vote is missing with probability 0.5; rows without a vote are left out. All get the same standardised
features. cleanlab: consensus labels of ``get_label_quality_multiannotator`` with probabilities of a logistic regression
(C = 0.01 and 1, the likelier) of the majority's label in five folds. Each cell is a record of
``benchmarks/records/votes.parquet``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.features import cache
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels

TABLE = Table(RECORDS / "votes.parquet")
SETS = ("cifar10n", "digits", "vehicle", "segment", "phoneme", "contraceptive", "music")
KINDS = ("apart", "alike")
ROWS, PEOPLE = 1_500, 5


def drawn(kind: str, truth: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Draw votes, ``[n, annotators]``, -1 where there is none."""
    rng = np.random.default_rng(seed + 100)
    n = len(truth)
    rates = np.linspace(0.2, 0.6, PEOPLE)
    if kind.startswith("apart"):
        return np.stack([np.where(rng.random(n) < rate, rng.integers(k, size=n), truth) for rate in rates], 1)
    hard, other = rng.random(n), rng.integers(k, size=n)
    wrong = np.stack([np.where(rng.random(n) < 0.7, other, rng.integers(k, size=n)) for _ in rates], 1)
    return np.where((hard[:, None] < rates) & (rng.random((n, PEOPLE)) < 0.9), wrong, truth[:, None])


def people(data: Path, seed: int) -> dict[str, Any]:
    """Give the first 5,000 images of CIFAR-10N, 1,000 of them for the test."""
    features = np.load(data / "features" / "cifar10_efficientnet_lite0_96px.npz")["f0"].astype(np.float32)
    labels = np.load(data / "cifar10" / "cifar10n.npz")
    truth = labels["clean_label"][: len(features)].astype(np.int64)
    votes = np.stack([labels[f"random_label{i}"][: len(features)] for i in (1, 2, 3)], 1).astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(features))
    train, test = order[:3_000], order[-1_000:]
    made = {"X": features[train], "votes": votes[train], "truth": truth[train], "k": 10}
    return made | {"test": features[test], "test_truth": truth[test]}


def problem(name: str, kind: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Give standardised features, votes and truth."""
    rng = np.random.default_rng(seed)
    if name == "cifar10n":
        made = people(options.data, seed)
    else:
        data = cache.load(name, "development", options.data, options.cache)
        X, test = (np.asarray(one, np.float32) for one in cache.as_arrays(data.train, data.test))
        some = rng.permutation(len(X))[:ROWS]
        votes = drawn(kind, np.asarray(data.truth), data.num_classes, seed)
        made = {"X": X[some], "votes": votes[some], "truth": np.asarray(data.truth)[some], "k": data.num_classes}
        made |= {"test": test, "test_truth": data.test_truth}
    if kind.endswith("half"):
        made["votes"] = np.where(rng.random(made["votes"].shape) < 0.5, -1, made["votes"])
        there = (made["votes"] >= 0).any(1)
        made |= {one: made[one][there] for one in ("X", "votes", "truth")}
    mean, deviation = made["X"].mean(0), made["X"].std(0) + 1e-9
    return made | {one: (made[one] - mean) / deviation for one in ("X", "test")}


def measured(posterior: np.ndarray, quality: np.ndarray, majority: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Judge refined labels and the ranking of the majority's labels."""
    each = np.arange(len(truth))
    return {
        "refined_right": float((posterior.argmax(1) == truth).mean()),
        "nats": float(-np.log(np.maximum(posterior[each, truth], 1e-6)).mean()),
        "auroc": float(roc_auc_score(majority != truth, -quality)),
        "counted": float((1 - posterior[each, majority]).sum()),
    }


def consensus(X: np.ndarray, votes: np.ndarray, majority: np.ndarray) -> dict[str, Any]:
    """Do as cleanlab's tutorial on several annotators does."""
    from cleanlab.multiannotator import get_label_quality_multiannotator
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    classes, codes = np.unique(majority, return_inverse=True)
    folds = min(5, int(np.bincount(codes).min()))
    tried = [
        cross_val_predict(LogisticRegression(max_iter=1000, C=c), X, codes, cv=max(folds, 2), method="predict_proba")
        for c in (0.01, 1.0)
    ]
    p = max(tried, key=lambda one: np.log(one[np.arange(len(codes)), codes] + 1e-12).mean())
    frame = pd.DataFrame(np.where(np.isin(votes, classes), np.searchsorted(classes, votes), np.nan))
    found = get_label_quality_multiannotator(frame, p, verbose=False)["label_quality"]
    return {
        "label": classes[found["consensus_label"].to_numpy()],
        "quality": found["consensus_quality_score"].to_numpy(),
    }


def compare(made: dict[str, Any]) -> dict[str, Any]:
    """Refine the labels of one problem in each way."""
    X, votes, truth, k = (made[name] for name in ("X", "votes", "truth", "k"))
    counts = np.stack([(votes == c).sum(1) for c in range(k)], 1)
    majority = counts.argmax(1)
    shares, numbers = counts / counts.sum(1, keepdims=True), counts.sum(1)
    found: dict[str, Any] = {
        "rows": len(X),
        "majority_right": float((majority == truth).mean()),
        "wrong": int((majority != truth).sum()),
    }
    inputs = torch.from_numpy(X)
    for way, labels, more in (
        ("majority", majority, {}),
        ("shares", shares, {}),
        ("votes", shares, {"votes": numbers}),
    ):
        start = time.process_time()
        one = refine_labels(inputs, labels, k, **more)
        seconds = time.process_time() - start
        predicted = one.machine(torch.from_numpy(made["test"])).argmax(1).numpy()
        found[way] = measured(one.posterior.numpy(), one.quality, majority, truth) | {
            "accuracy": float((predicted == made["test_truth"]).mean()),
            "cpu_seconds": seconds,
            "chosen": one.choice.best.name,
            "dependence": one.choice.best.link.dependence,
        }
    start = time.process_time()
    other = consensus(X, votes, majority)
    found["cleanlab"] = {
        "refined_right": float((other["label"] == truth).mean()),
        "cpu_seconds": time.process_time() - start,
    }
    return found


def table() -> str:
    """Means over the seeds, as Markdown."""
    frame = pd.json_normalize(list(TABLE.read().values()))
    ways = ("majority", "shares", "votes")
    columns = ["majority_right", "cleanlab.refined_right"]
    columns += [f"{way}.{one}" for one in ("refined_right", "nats", "auroc", "accuracy") for way in ways]
    columns += ["votes.dependence"]
    means = frame.groupby(["data", "kind"], sort=False)[columns].mean()
    return str(pd.concat([means, means.mean().to_frame(("mean", "")).T]).round(3).to_markdown())


def main() -> None:
    """Measure what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder of data sets")
    parser.add_argument("--cache", required=True, type=Path, help="folder of prepared features")
    parser.add_argument("--only", nargs="*", default=list(SETS), help="names of data sets")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        kinds = ("people",) if name == "cifar10n" else KINDS
        for kind in (one + half for one in kinds for half in ("", " half")):
            for seed in range(options.seeds):
                if (key := f"{name}, {kind}, {seed}") in TABLE.read():
                    continue
                found = compare(problem(name, kind, options, seed))
                print(
                    key, {w: round(found[w]["refined_right"], 3) for w in ("majority", "shares", "votes", "cleanlab")}
                )
                cell = {"data": name, "kind": kind, "seed": seed}
                TABLE.add({key: cell | found | {"environment": environment("cpu")}})
    print(table())


if __name__ == "__main__":
    main()
