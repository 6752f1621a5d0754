"""Other rankings of the same one training, on labels by rules, by a crowd and with random errors.

    python -m benchmarks.label_rankings [--data DIR] [--out benchmarks/records/label_rankings.json]

One training with the default per row; each ranking is made of what that training has seen anyway, the mean prediction
of each example in each epoch, and the posterior at the end. The table: ``python -m benchmarks.label_errors report``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS = (
    *(("SemEval, rules", {"data": "semeval"}, seed) for seed in (0, 1, 2)),
    *(("TREC, rules", {"data": "trec"}, seed) for seed in (0, 1)),
    *(("music genres, crowd", {"data": "music"}, seed) for seed in (0, 1, 2)),
    ("SemEval, true labels, symmetric 20 %", {"data": "semeval", "rate": 0.2}, 0),
    ("TREC, true labels, symmetric 20 %", {"data": "trec", "rate": 0.2}, 0),
    *((f"Fashion-MNIST, {noise.replace('-', ' ')} %", {"data": "fashion", "noise": noise}, 0)
      for noise in ("symmetric-5", "symmetric-40", "pair-40")),
)  # fmt: skip
EARLY = 4


def rankings(own: np.ndarray, other: np.ndarray, geometric: np.ndarray, q: np.ndarray, wrong: float) -> dict[str, Any]:
    """Make them, low = bad, from log-probabilities ``[epochs, n]`` of the given and the likeliest other label."""
    margin = own - other
    half = margin[len(margin) // 2 :].mean(0)
    return {
        "geometric mean": geometric,
        "q": q,
        "c": own.mean(0),
        "mean margin": margin.mean(0),
        "last margin": margin[-1],
        "gain of margin": half - margin[:EARLY].mean(0),
        "label_quality": geometric if wrong >= 0.5 else margin.mean(0),
    }


def measure(row: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Train once, and rank in all ways."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from benchmarks.label_errors_rivals import prepare
    from selfdistill import noise, train
    from selfdistill.issues import LearningDynamics, label_table
    from selfdistill.train import Settings

    fashion = {"network": "mlp", "examples": 10_000, "epochs": 40} if row["data"] == "fashion" else {"network": "auto"}
    cell = fashion | row | {"seed": seed}
    part, _ = prepare(cell, folder)
    if "rate" in row:
        matrix = noise.symmetric(part.num_classes, row["rate"], include_clean=False)
        part = replace(part, labels=noise.draw(part.truth, matrix, seed=seed).labels)
    seen: list[Any] = []
    update = LearningDynamics.update

    def watch(self: LearningDynamics, mean: torch.Tensor, written: torch.Tensor) -> None:
        own = mean.gather(1, part.labels[:, None])[:, 0]
        other = mean.scatter(1, part.labels[:, None], -1).max(1).values
        seen.append(torch.stack([own, other]).clamp(min=1e-30).log().numpy())
        update(self, mean, written)

    LearningDynamics.update = watch  # type: ignore[method-assign]
    chosen = Settings(seed=seed, network=cell["network"], epochs=cell.get("epochs")).resolve(len(part), "cpu")
    fitted = train.fit(part, chosen)
    LearningDynamics.update = update  # type: ignore[method-assign]
    table = label_table(fitted.targets.refined(), fitted.dynamics, counts=fitted.counts)
    own, other = np.stack(seen, 1)
    wrong = (part.labels != part.truth).numpy()
    geometric = np.sqrt(table.p_given * fitted.dynamics.mean_given().numpy())
    made = rankings(own, other, geometric, table.p_given, table.noise.wrong)
    scores = {k: [float(f(wrong, -v)) for f in (roc_auc_score, average_precision_score)] for k, v in made.items()}
    return {"wrong": int(wrong.sum()), "expected_wrong": table.noise.wrong, "scores": scores}


def main() -> None:
    """Measure all rows."""
    from selfdistill._core.record import environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "records" / "label_rankings.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, row, seed in ROWS:
        rows.append({"name": name, "seed": seed} | measure(row, seed, asked.data))
        print(name, seed, {k: f"{v[0]:.3f} / {v[1]:.3f}" for k, v in rows[-1]["scores"].items()}, flush=True)
    asked.out.write_text(json.dumps({"rows": rows, "environment": environment("cpu")}, indent=1) + "\n")


if __name__ == "__main__":
    main()
