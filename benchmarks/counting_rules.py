"""Which of the closed form's candidates should count the wrong labels.

    python -m benchmarks.counting_rules run --data DIR --cache DIR [--only NAME ...] [--seeds 0 1 2]
    python -m benchmarks.counting_rules report

Several forms of the noise explain the given labels about as well, and expect different numbers of wrong labels. Each
case is a development data set, a kind of errors and a seed; its record holds the last candidate of each form: how
likely it is, how many labels it expects to be wrong, and how many it refines rightly, by scores of the other half.
`report` lets each rule take its candidate. Cases with a record in ``benchmarks/records/counting_rules.parquet`` are not
measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.features import cache, noise
from benchmarks.features.data_sets import names
from benchmarks.table import RECORDS, Table
from selfdistill._core.record import environment
from selfdistill.closed import refine_labels
from selfdistill.closed._given import as_given
from selfdistill.closed._rounds import Candidate, _end, _standard_errors

TABLE = Table(RECORDS / "counting_rules.parquet")
ROWS = 1_500
Ends = list[dict[str, Any]]
Rule = Callable[[Ends], dict[str, Any]]


def ends(inputs: np.ndarray, given: np.ndarray, truth: np.ndarray, k: int) -> Ends:
    """Describe the last candidate of each form and source."""
    found = refine_labels(torch.from_numpy(inputs), given, k)
    chains: dict[tuple[str, str], list[Candidate]] = {}
    for one in found.choice.tried:
        chains.setdefault((one.source, one.form.name), []).append(one)
    last = [_end(chain, None) for chain in chains.values()]
    best = min(last, key=lambda one: one.nats)
    sound = min((one for one in last if one.form.noise == "even" or one.wrong <= 0.5), key=lambda one: one.nats)

    def described(one: Candidate) -> dict[str, Any]:
        assert one.scores is not None
        refined = one.link.posterior(one.scores.astype(np.float64), as_given(given, k))[0].argmax(1)
        behind = [round(_standard_errors(one, other), 4) for other in (best, sound)]
        numbers = {"nats": one.nats, "wrong": one.wrong, "right": float((refined == truth).mean())}
        return {"name": one.name, "noise": one.form.noise, "behind": behind, **numbers}

    return [described(one) for one in last]


def within(errors: float, power: float = 0.0, *, sound: bool = False, even: float | None = None) -> Rule:
    """Take the most wrong labels, times exp(-power z), within some standard errors of the best.

    With ``sound`` rows of T for each class have no say where they call most labels wrong; with ``even`` neither where
    one rate for all classes is so near to the best.
    """

    def rule(ends: Ends) -> dict[str, Any]:
        some = [one for one in ends if not sound or one["noise"] == "even" or one["wrong"] <= 0.5]
        if even is not None and any(one["noise"] == "even" and one["behind"][sound] <= even for one in some):
            some = [one for one in some if one["noise"] == "even"]
        near = [one for one in some if one["behind"][sound] <= errors]
        return max(near, key=lambda one: (one["wrong"] * np.exp(-power * one["behind"][sound]), -one["behind"][sound]))

    return rule


RULES: dict[str, Rule] = {
    "the likeliest": within(0),
    "most wrong within one standard error (before)": within(1),
    "1: times exp(-z / 4)": within(1, 0.25),
    "1, and rows of each class up to one half wrong": within(1, 0.25, sound=True),
    "the same, where one rate is not the best (now)": within(1, 0.25, sound=True, even=0),
    "where it is more than half an error behind": within(1, 0.25, sound=True, even=0.5),
    "where it is more than one error behind": within(1, 0.25, sound=True, even=1),
    "now, with exp(-z / 2)": within(1, 0.5, sound=True, even=0),
}
GROUPS = {
    "no errors": ("symmetric-0",),
    "symmetric 5 %": ("symmetric-5",),
    "20 %": ("symmetric-20",),
    "40 %": ("symmetric-40",),
    "60 %": ("symmetric-60",),
    "pairs, one-sided": ("pair-30", "pair-40", "one-sided-30", "one-sided-40"),
    "weak models": ("weak",),
    "people, rules": ("crowd", "rules", "human-worst", "human-random1", "human-aggre"),
}


def report() -> str:
    """Write a line for each rule: counting error, and refined labels right in per cent, by kind of errors."""
    cases = list(TABLE.read().values())
    sizes = {group: sum(case["noise"] in kinds for case in cases) for group, kinds in GROUPS.items()}
    heads = [f"{group} ({sizes[group]})" for group in GROUPS]
    lines = ["| rule | " + " | ".join(heads) + " | all right |", "|" + "---|" * (len(GROUPS) + 2)]
    for name, rule in RULES.items():
        cells, every = [], [rule(case["ends"])["right"] for case in cases]
        for kinds in GROUPS.values():
            some = [(rule(case["ends"]), case["wrong"]) for case in cases if case["noise"] in kinds]
            errors = [one["wrong"] if not wrong else min(abs(one["wrong"] / wrong - 1), 3) for one, wrong in some]
            cells.append(f"{np.mean(errors):.3f}, {100 * np.mean([one['right'] for one, _ in some]):.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {100 * np.mean(every):.2f} |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Measure the cases that have no record."""
    torch.set_num_threads(1)
    known = TABLE.read()
    for seed in options.seeds:
        for name in options.only or names("development"):
            data = cache.load(name, "development", Path(options.data), Path(options.cache))
            rows = np.sort(np.random.default_rng(0).permutation(len(data.truth))[:ROWS])
            inputs = np.ascontiguousarray(cache.as_arrays(data.train, data.test)[0][rows], np.float32)
            for kind in noise.kinds(data):
                key = f"{name}, {kind}, {seed}"
                same = seed and (kind in data.given or kind == "symmetric-0")  # nothing is drawn
                if key in known or same or kind == "symmetric-80":
                    continue
                given, truth = noise.draw(data, kind, seed)[rows], data.truth[rows]
                case = {"data": name, "noise": kind, "seed": seed, "rows": len(rows), "classes": data.num_classes}
                case |= {"wrong": float((given != truth).mean())}
                case |= {"ends": ends(inputs, given, truth, data.num_classes), "environment": environment("cpu")}
                TABLE.add({key: case})
                print(f"{key}: {case['wrong']:.3f} wrong", flush=True)


def main() -> None:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="measure the cases that have no record")
    runs.add_argument("--data", required=True, help="folder of data sets")
    runs.add_argument("--cache", required=True, help="folder of prepared data")
    runs.add_argument("--only", nargs="*", help="names of data sets")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of the errors")
    commands.add_parser("report", help="compare the rules")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        sys.stdout.write(report() + "\n")


if __name__ == "__main__":
    main()
