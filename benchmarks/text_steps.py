"""What larger steps cost on texts: the reliability check and the ranking of errors, beside what they win in accuracy.

    python -m benchmarks.text_steps run [--data DIR] [--seeds 0 1]   # resumable, one training at a time
    python -m benchmarks.text_steps report                           # the table of docs/decisions/0013

The cases are the reliability check's development cases on TREC and SemEval (``benchmarks/warning_light.py``); DIR holds
``text/``. Accuracy stands in suite ``development-tabular-text``. One JSON line per training goes to
``benchmarks/records/text_steps.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks import warning_light

RECORDS = Path(__file__).parent / "records" / "text_steps.jsonl"
DATA = ("semeval", "trec")
VARIANTS: dict[str, tuple[dict[str, float], dict[str, Any]]] = {
    "the default": ({}, {}),
    "lr 0.1": ({}, {"lr": 0.1}),
    "lr 0.3": ({}, {"lr": 0.3}),
    "reverse 1": ({"reverse": 1.0}, {}),
    "reverse 4": ({"reverse": 4.0}, {}),
}


def key(row: dict[str, Any]) -> str:
    """Name a training."""
    return f"{row['variant']} {warning_light.key(row['cell'])}"


def finished() -> dict[str, dict[str, Any]]:
    """Read the records by training."""
    if not RECORDS.exists():
        return {}
    rows = [json.loads(line) for line in RECORDS.read_text().splitlines() if line.endswith("}")]
    return {key(row): row for row in rows}


def train_one(variant: str, cell: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train a case and record what is said of its labels, beside the truth."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from benchmarks.science.variants import variant as vary
    from selfdistill import train
    from selfdistill._core.record import environment
    from selfdistill.issues import applicability, label_table

    torch.set_num_threads(1)
    numbers, chosen = VARIANTS[variant]
    part = warning_light.load(cell, folder)
    settings = train.Settings(seed=cell["seed"], **chosen).resolve(len(part), "cpu")
    fitted = train.fit(part, settings, method=vary("selfdistill", numbers))
    table = label_table(fitted.targets.refined(), fitted.dynamics, counts=fitted.counts)
    light = applicability(table, fitted.dynamics, [e["refined_share"] for e in fitted.curves], part.classes)
    truth = part.truth.numpy()
    wrong = table.given != truth
    ranked = {}
    if wrong.any():
        ranked["auroc"] = float(roc_auc_score(wrong, -table.quality))
        ranked["average_precision"] = float(average_precision_score(wrong, -table.quality))
    return {
        "variant": variant,
        "cell": cell,
        "settings": settings.as_dict(),
        "light": light.as_dict(part.classes),
        "wrong_given": float(wrong.mean()),
        "wrong_refined": float((table.refined != truth).mean()),
        **ranked,
        "agreement": [e["agreement"] for e in fitted.curves],
    } | environment("cpu")


def run(folder: Path, seeds: list[int]) -> None:
    """Train what has no record yet."""
    cells = [c for c in warning_light.cells("dev", ["tables"]) if c["data"] in DATA and c["seed"] in seeds]
    todo = [(v, c) for c in cells for v in VARIANTS if key({"variant": v, "cell": c}) not in finished()]
    for place, (variant, cell) in enumerate(todo, 1):
        row = train_one(variant, cell, folder)
        with RECORDS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{place}/{len(todo)} {key(row)}: {row['light']['verdict']}", file=sys.stderr, flush=True)


def report() -> None:
    """Print a table: a line for each data set and variant, means over seeds."""
    cases = ("given labels", "true labels", "random labels", "true labels, symmetric 20 %")
    print("| data | | " + " | ".join(f"{case}: says" for case in cases) + " | AUROC, given | AUROC, symmetric 20 % |")
    print("|---" * 8 + "|")
    rows = finished().values()
    for data in DATA:
        for variant in VARIANTS:
            mine = [r for r in rows if r["cell"]["data"] == data and r["variant"] == variant]
            by_case = {case: [r for r in mine if r["cell"]["case"] == case] for case in cases}
            said = [", ".join(r["light"]["verdict"] for r in by_case[case]) for case in cases]
            ranked = [f"{100 * mean(r['auroc'] for r in by_case[case]):.1f}" for case in (cases[0], cases[3])]
            print(f"| {data} | {variant} | " + " | ".join(said + ranked) + " |")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[*warning_light.SEEDS["dev"]])
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments.data, arguments.seeds)
    else:
        report()


if __name__ == "__main__":
    main()
