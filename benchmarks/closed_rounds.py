"""Claims 3, 4 and 5 of the paper where its theory is exact: what do rounds of self-distillation add to early stopping?

    python -m benchmarks.closed_rounds run --data DIR --cache DIR [--seeds 0 1 2]
    python -m benchmarks.closed_rounds report > docs/closed-form-rounds.md

Round 1 is ridge regression of the given labels with the ridge of least leave-one-out error: early stopping at its best.
Each row of the records holds one data set, noise, seed and number of rounds, measured against true labels.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.command import run_or_report
from benchmarks.features import cache, noise
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels

RECORDS = Path(__file__).parent / "records" / "closed_rounds.jsonl"
DATA = ("cifar10", "fashion-2000", "trec", "semeval", "vowel", "satimage", "letter")
NOISES = ("symmetric-0", "symmetric-20", "symmetric-40", "symmetric-60", "pair-40", "human-worst")
MEASURES = {
    "accuracy": "test accuracy, %",
    "distance": "squared distance of the out-of-sample distribution to the true label",
    "margin": "median margin of the true label",
    "memorised": "wrong labels kept, %",
}


def run(options: argparse.Namespace) -> None:
    """Measure what has no record yet.

    Args:
        options: ``data``, ``cache``, ``seeds``.
    """
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    done = {(r["data"], r["noise"], r["seed"]) for r in map(json.loads, lines)}
    facts = {name: environment("cpu")[name] for name in ("versions", "hardware")}
    for seed in options.seeds:
        for name in DATA:
            data = cache.load(name, "final", options.data, options.cache)
            X, X_test = map(torch.from_numpy, cache.as_arrays(data.train, data.test))
            truth, test_truth = torch.from_numpy(data.truth), torch.from_numpy(data.test_truth)
            k = int(max(truth.max(), test_truth.max())) + 1
            for kind in NOISES:
                if kind not in noise.kinds(data) or (name, kind, seed) in done or (seed and kind.startswith("human")):
                    continue
                given = torch.from_numpy(noise.draw(data, kind, seed))
                for rounds in (1, 2, 3):
                    found = refine_labels(X, given, k, rounds=rounds, forest=False)
                    with torch.no_grad():
                        test = torch.cat([found.machine(part).argmax(1) for part in X_test.split(2000)])
                    onehot = torch.nn.functional.one_hot(truth, k)
                    own = found.prior.gather(1, truth[:, None])[:, 0]
                    other = (found.prior - 2 * onehot).max(1).values
                    wrong = given != truth
                    kept = found.posterior.argmax(1) == given
                    record = {"data": name, "noise": kind, "seed": seed, "rounds": rounds, "nats": found.nats}
                    record |= {
                        "accuracy": 100 * (test == test_truth).float().mean().item(),
                        "distance": (found.prior - onehot).square().sum(1).mean().item(),
                        "margin": (own - other).median().item(),
                        "memorised": 100 * kept[wrong].float().mean().item() if wrong.any() else None,
                    }
                    with RECORDS.open("a") as file:
                        file.write(json.dumps(record | facts) + "\n")
                print(name, kind, seed, flush=True)


def report() -> str:
    """Lay the records out as a page.

    Returns:
        Markdown.
    """
    cells: dict[tuple[str, str], dict[int, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in RECORDS.read_text().splitlines():
        r = json.loads(line)
        cells[r["noise"], r["data"]][r["rounds"]].append(r)
    text = [
        "# What rounds of self-distillation add, where the theory is exact",
        "",
        "With fixed features the kernel regime is exact, and round 1 is early stopping at its best: ridge regression "
        "of the given labels, its ridge by leave-one-out. Rounds 2 and 3 distil it. Each cell is the mean over seeds "
        "(people's errors: one set of labels) after rounds 1 / 2 / 3; the method itself draws nothing. Made by "
        "`python -m benchmarks.closed_rounds`.",
        "",
        "- **Claim 3** (wrong labels are not memorised): *wrong labels kept* is the share of wrong labels that the "
        "refined labels keep.",
        "- **Claim 4** (convergence in l2, and with it a margin): *squared distance* and *margin* are those of "
        "distributions that have not seen the row's own label.",
        "- **Claim 5** (more than early stopping): *test accuracy* of rounds 2 and 3 against round 1.",
        "",
    ]
    for kind in NOISES:
        text += [
            f"## {kind}",
            "",
            "| data | " + " | ".join(MEASURES.values()) + " |",
            "|---" * (len(MEASURES) + 1) + "|",
        ]
        for name in DATA:
            if (kind, name) in cells:
                shown = [_cell(cells[kind, name], measure) for measure in MEASURES]
                text.append(f"| {name} | " + " | ".join(shown) + " |")
        text.append("")
    return "\n".join(text)


def _cell(rounds: dict[int, list[dict[str, float]]], measure: str) -> str:
    if any(r[measure] is None for found in rounds.values() for r in found):
        return "–"
    digits = 1 if measure in {"accuracy", "memorised"} else 3
    return " / ".join(f"{np.mean([r[measure] for r in found]):.{digits}f}" for _, found in sorted(rounds.items()))


if __name__ == "__main__":
    run_or_report(__doc__, run, report)
