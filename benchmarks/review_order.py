"""How many wrong labels a reviewer finds, in which order; and whether what the page says of the rest holds.

    python -m benchmarks.review_order [--data DIR] [--cache DIR] [--only NAME ...] [--again]
    python -m benchmarks.review_order --audits [--cache DIR]

Truth plays the reviewer. Orders: *fixed*, that of the run; *learning*, where all labels are refined anew after every
ten decisions (the page does so after each); *cleanlab*, rising self-confidence of a logistic regression out of fold
(five folds, three seeds). The errors of people and rules are what
they are, so that the first two have no seed; drawn errors have three. At each stop the record holds, in the learning
order, the wrong labels found and truly left, with the interval that the page shows for those left and for the precision
of all flagged labels. Each data set, kind and seed is a record of ``benchmarks/records/review_order.parquet``; walks
are kept in ``DIR/review`` of the cache. ``--again`` measures records anew that are there, cleanlab's order apart.
``--audits`` says of the walks that are kept what would be found, and how often the interval would hold, if a share of
the decisions were on labels drawn at random from those that are not flagged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.features import cache, noise
from benchmarks.features.folds import out_of_fold
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed._given import Given
from selfdistill.closed._prepare import ClosedOptions, prepare
from selfdistill.closed._settler import Settler
from selfdistill.issues import find_issues
from selfdistill.review._estimate import Remaining

TABLE = Table(RECORDS / "review_order.parquet")
STOPS = (100, 300, 1000)
STEP = 10
SEEDS = (0, 1, 2)
REAL = [("cifar10", "final", kind) for kind in ("human-worst", "human-random1", "human-aggre")] + [
    ("music", "final", "crowd")
]
DRAWN = [
    ("cifar10", "development", "human-worst", 0),
    ("cifar10", "development", "human-random1", 0),
    ("cifar10", "development", "human-aggre", 0),
    ("trec", "development", "rules", 0),
    ("semeval", "development", "rules", 0),
    *(
        ("fashion-2000", "development", kind, seed)
        for kind in ("symmetric-5", "symmetric-20", "pair-40")
        for seed in SEEDS
    ),
    *(("music", "development", kind, seed) for kind in ("symmetric-20", "pair-30") for seed in SEEDS),
]
"""Development data, to choose how wide an interval is."""


def stops(n: int) -> list[int]:
    """Give the stops of n rows: a fifth of them is decided, or half of few."""
    return [stop for stop in STOPS if stop <= max(n // 5, min(n // 2, 300))]


def walk(inputs: np.ndarray, given: np.ndarray, truth: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Review in the learning order.

    Args:
        inputs: Features, ``[n, d]``.
        given: Given labels, codes ``[n]``.
        truth: True labels.
        k: Number of classes.

    Returns:
        ``wrong`` and ``flagged``, bool ``[n]``; ``fixed``, the order of the run; ``seen``, the order of the decisions;
        ``stops``, and ``quality`` at each of them, ``[stops, n]``; ``seconds`` of CPU for a step.
    """
    wrong, n = given != truth, len(given)
    settler = Settler(prepare(torch.from_numpy(inputs), Given(given, k), ClosedOptions()))
    decided, seen, quality, at = np.full(n, -1), [], [], [0, *stops(n)]
    posterior, now = settler.settle(decided)
    table = find_issues(given, posterior, quality=now)
    started = time.process_time()
    for count in range(0, at[-1] + 1, STEP):
        if count in at:
            quality.append(now)
        if count < at[-1]:
            open_ = np.flatnonzero(decided < 0)
            new = open_[np.argsort(now[open_], kind="stable")[:STEP]]
            seen += new.tolist()
            decided[new] = truth[new]
            _, now = settler.settle(decided)
    seconds = (time.process_time() - started) / (at[-1] / STEP)
    fixed = np.argsort(table.quality, kind="stable")
    kept = {"wrong": wrong, "flagged": table.is_issue, "fixed": fixed, "seen": seen, "stops": at, "quality": quality}
    return {name: np.asarray(one) for name, one in kept.items()} | {"seconds": np.array(seconds)}


def judged(path: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Say at each stop what was found, what is left, and what the page says of it."""
    wrong, flagged, found = path["wrong"], path["flagged"], []
    for count, quality in zip(path["stops"].tolist(), path["quality"], strict=True):
        held = np.isin(np.arange(len(wrong)), path["seen"][:count])
        left = Remaining(1 - quality, held, held & wrong)
        rest, hits = left.count(~held & flagged), int((held & flagged & wrong).sum())
        found.append(
            {
                "settled": count,
                "found": int((held & wrong).sum()),
                "fixed": int(wrong[path["fixed"][:count]].sum()),
                "left": int((~held & wrong).sum()),
                "errors_left": asdict(left.count(~held)),
                "flagged_wrong": int((flagged & wrong).sum()),
                "flagged": {"value": hits + rest.value, "low": hits + rest.low, "high": hits + rest.high},
            }
        )
    return found


def walked(place: Path, *data: Any) -> Mapping[str, np.ndarray]:
    """Walk, or read the walk that is kept in a file: another estimate needs no other walk."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(place, **walk(*data))
    with np.load(place) as kept:
        return dict(kept)


def cleanlab(inputs: np.ndarray, given: np.ndarray, truth: np.ndarray, k: int) -> dict[str, list[int]]:
    """Review in the order of cleanlab, for each seed of the folds."""
    from cleanlab.rank import get_label_quality_scores

    rows, found = StandardScaler().fit_transform(inputs), {}
    for seed in SEEDS:
        shares = out_of_fold(LogisticRegression(max_iter=200), rows, given, k, 5, seed)
        order = np.argsort(get_label_quality_scores(given, shares), kind="stable")
        found[str(seed)] = [int((given != truth)[order[:stop]].sum()) for stop in stops(len(given))]
    return found


def audited(folder: Path, share: float, draws: int = 8) -> dict[str, Any]:
    """Replace the last decisions of each walk by labels drawn from those that are not flagged."""
    rng, held_in, found, ratio = np.random.default_rng(0), {"development": [], "final": []}, {}, []
    for place in sorted(folder.glob("*.npz")):
        with np.load(place) as kept:
            path = dict(kept)
        wrong, flagged, n = path["wrong"], path["flagged"], len(path["wrong"])
        for count, quality in zip(path["stops"].tolist()[1:], path["quality"][1:], strict=True):
            here, got = [], []
            for _ in range(draws):
                held = np.isin(np.arange(n), path["seen"][: count - round(share * count)])
                held[rng.permutation(np.flatnonzero(~held & ~flagged))[: round(share * count)]] = True
                left = Remaining(1 - quality, held, held & wrong).count(~held)
                here.append(left.low <= (wrong & ~held).sum() <= left.high)
                got.append(int((held & wrong).sum()))
                ratio.append(left.high / max(left.low, 1))
            held_in[place.stem.split(".")[1]].append(np.mean(here))
            found.setdefault(count, []).append(np.mean(got))
    shares = {part: f"{sum(some):.1f} of {len(some)}" for part, some in held_in.items()}
    means = {str(count): round(float(np.mean(some)), 1) for count, some in found.items()}
    return {"share": share, "held": shares, "found": means, "upper to lower": round(float(np.median(ratio)), 1)}


def main() -> None:
    """Measure what has no record yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--cache", default=".cache/features")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--audits", action="store_true")
    options = parser.parse_args()
    if options.audits:
        for share in (0.0, 0.02, 0.05, 0.1):
            print(audited(Path(options.cache) / "review", share), flush=True)
        return
    known = TABLE.read()
    for name, part, kind, seed in [*((*cell, 0) for cell in REAL), *DRAWN]:
        key = f"{name}, {part}, {kind}, {seed}"
        if (key in known and not options.again) or (options.only and key not in options.only):
            continue
        data = cache.load(name, part, Path(options.data), Path(options.cache))
        inputs = np.asarray(cache.as_arrays(data.train, data.test)[0], np.float32)
        given, truth, k = noise.draw(data, kind, seed), data.truth, data.num_classes
        record = {"cell": [name, part, kind, seed], "rows": len(given), "classes": k, **environment("cpu")}
        path = walked(Path(options.cache) / "review" / f"{name}.{part}.{kind}.{seed}.npz", inputs, given, truth, k)
        record |= {"at": judged(path), "wrong": int(path["wrong"].sum()), "is_flagged": int(path["flagged"].sum())}
        record["seconds_a_step"] = float(path["seconds"])
        if (name, part, kind) in REAL:
            there = known.get(key, {}).get("cleanlab")
            record["cleanlab"] = there or cleanlab(inputs, given, truth, k)
        TABLE.add({key: record})
        shown = [(one["found"], one["fixed"]) for one in record["at"]]
        print(key, record["wrong"], shown, record.get("cleanlab"), flush=True)


if __name__ == "__main__":
    main()
