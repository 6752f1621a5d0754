"""Claims 3, 4 and 5 where the theory is exact: what rounds on fixed features add to early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.claims import figure
from benchmarks.claims.claim import Check, Claim, Condition, Measured, Part, Rows
from benchmarks.claims.problems import draw as draw_problem
from benchmarks.features import cache, noise
from selfdistill.closed import refine_labels

CACHE = "features-cache"
"""Folder within ``--data`` that `python -m benchmarks.features prepare` filled."""
QUESTIONS = (
    "wrong labels are not memorised",
    "nearer in l2, with a larger margin",
    "more accurate than early stopping",
)
CHECKS = {
    QUESTIONS[0]: (Check("wrong kept", "<=", 0.2, "refined labels keep at most a fifth of the wrong labels"),),
    QUESTIONS[1]: (
        Check("distance ratio", "<=", 1.0, "the squared distance to the truth is smaller after the last round"),
        Check("margin gain", ">=", 0.0, "the median margin of the true label is larger"),
    ),
    QUESTIONS[2]: (Check("accuracy gain", ">=", 0.0, "the test accuracy is higher"),),
}
SHOWN = {
    QUESTIONS[0]: (("after round 1", "1: wrong kept"), ("after round 2", "2: wrong kept")),
    QUESTIONS[1]: tuple(
        (f"{what} after round {r}", f"{r}: {what}") for what in ("distance", "margin") for r in (1, 2, 3)
    ),
    QUESTIONS[2]: tuple((f"accuracy after round {r}", f"{r}: accuracy") for r in (1, 2, 3)),
}
_CLEAN = ("clean", "symmetric-0")
_LABELS = {"distance": "squared distance to the truth", "margin": "median margin", "accuracy": "test accuracy (%)"}


def measure(settings: Mapping[str, Any], seed: int, folder: Path) -> Measured:
    """Refine one draw of the labels with one, two and three rounds."""
    inputs, given, truth, test, test_truth = _drawn(settings, seed, folder)
    k = int(max(truth.max(), test_truth.max())) + 1
    onehot, wrong = torch.nn.functional.one_hot(truth, k), given != truth
    numbers: dict[str, float] = {"wrong labels": float(wrong.float().mean())}
    for rounds in (1, 2, 3):
        found = refine_labels(inputs, given, k, rounds=rounds, forest=False)
        with torch.no_grad():
            predicted = torch.cat([found.machine(part).argmax(1) for part in test.split(2000)])
        own, others = found.prior.gather(1, truth[:, None])[:, 0], (found.prior - 2 * onehot).max(1).values
        kept = found.posterior.argmax(1) == given
        numbers |= {
            f"{rounds}: accuracy": 100 * float((predicted == test_truth).float().mean()),
            f"{rounds}: distance": float((found.prior - onehot).square().sum(1).mean()),
            f"{rounds}: margin": float((own - others).median()),
            f"{rounds}: wrong kept": float(kept[wrong].float().mean()) if bool(wrong.any()) else 0.0,
        }
    return Measured(
        numbers
        | {
            "wrong kept": numbers["3: wrong kept"],
            "distance ratio": numbers["3: distance"] / numbers["1: distance"],
            "margin gain": numbers["3: margin"] - numbers["1: margin"],
            "accuracy gain": numbers["3: accuracy"] - numbers["1: accuracy"],
        }
    )


def _drawn(settings: Mapping[str, Any], seed: int, folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give inputs, given and true labels, and inputs and true labels of a test set."""
    if settings["data"] == "digits":
        problem = draw_problem(settings, seed, folder)
        inputs, test = (part.flatten(1).float() for part in (problem.train.inputs, problem.test[0]))
        return inputs, problem.train.labels, problem.truth, test, problem.test[1]
    data = cache.load(settings["data"], "final", folder, folder / CACHE)
    inputs, test = map(torch.from_numpy, cache.as_arrays(data.train, data.test))
    given = torch.from_numpy(np.asarray(noise.draw(data, settings["noise"], seed)).astype(np.int64))
    return inputs, given, torch.from_numpy(data.truth), test, torch.from_numpy(data.test_truth)


def conditions(parts: Sequence[Part]) -> tuple[Condition, ...]:
    """Judge each part under each question."""
    return tuple(
        Condition(f"{p.settings['data']}, {p.settings['noise']}", p.name, checks, SHOWN[question], _kind(p), question)
        for question, checks in CHECKS.items()
        for p in parts
        if question != QUESTIONS[0] or p.settings["noise"] not in _CLEAN
    )


def _kind(part: Part) -> Literal["inside", "outside"]:
    """Say of what kind a condition is: see the claim's assumptions."""
    kind = part.settings["noise"]
    return "outside" if kind in _CLEAN or kind.startswith("human") else "inside"


def draw(rows: Rows) -> Any:
    """Draw distance, margin and accuracy over the rounds, a line for each data set, a row for each noise."""
    have = {name: records for name, records in rows.items() if records}
    kinds = list(dict.fromkeys(r[0]["settings"]["noise"] for r in have.values()))
    names = list(dict.fromkeys(r[0]["settings"]["data"] for r in have.values()))
    colours = (figure.BLACK, figure.BLUE, figure.ORANGE, figure.RED, figure.GREEN, figure.GREY)
    drawn, axes = figure.panels(len(_LABELS), len(kinds), height=1.7)
    for records in have.values():
        settings = records[0]["settings"]
        i = names.index(settings["data"])
        for axis, what in zip(axes[kinds.index(settings["noise"])], _LABELS, strict=True):
            values = [[r["numbers"][f"{number}: {what}"] for r in records] for number in (1, 2, 3)]
            look = {"color": colours[i % len(colours)], "fmt": "o-" if i < len(colours) else "s--"}
            figure.points(axis, (1, 2, 3), values, label=settings["data"], **look)
    for i, kind in enumerate(kinds):
        axes[i][0].set_ylabel(kind)
        for axis, label in zip(axes[i], _LABELS.values(), strict=True):
            axis.set(title=label if i == 0 else "", xticks=(1, 2, 3), xlabel="round" if i == len(kinds) - 1 else "")
    handles = {label: h for row in axes for h, label in zip(*row[0].get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    return drawn


_NOISES = ("symmetric-0", "symmetric-20", "symmetric-40", "symmetric-60", "pair-40")
_DATA = ("cifar10", "fashion-2000", "trec", "semeval", "vowel", "satimage", "letter")

CLAIM = Claim(
    name="rounds",
    title="What later rounds add, where the theory is exact",
    statement="With fixed features the kernel regime is exact. There self-distillation refines wrong labels without "
    "memorising them, comes nearer to the true labels in l2 and leaves a larger margin, and tests better than early "
    "stopping.",
    standing="Abstract (claims of trained networks). That they hold of ridge regression on fixed features is our "
    "reading of its theory; the rounds are this package's own closed form.",
    method="Round 1 is ridge regression of the given labels, its ridge that of least leave-one-out error: early "
    "stopping at its best. Rounds 2 and 3 regress the refined labels of the round before (`--method kernel` with one "
    "to three rounds; no forest). Distance and margin are those of distributions that have not seen the row's own "
    "label. The method draws nothing; seeds draw the noise, and of the digits the examples. All but the digits "
    "are the final parts of the bench on features.",
    assumptions="Wrong labels that follow the class and not the inputs, 20 % of them or more. Without noise there is "
    "nothing to refine, and people's errors follow the inputs: controls.",
    full=(
        *(
            Part(f"{name}-{kind}", {"data": name, "noise": kind}, (CACHE,))
            for name in _DATA
            for kind in (*_NOISES, *(["human-worst"] if name == "cifar10" else []))
        ),
    ),
    small=tuple(
        Part(f"digits-{kind}", {"data": "digits", "noise": kind, "examples": 400})
        for kind in ("clean", "symmetric-40", "pair-40")
    ),
    conditions=conditions,
    measure=measure,
    draw=draw,
    caption="After one, two and three rounds; a row for each kind of noise, mean and standard deviation of the seeds.",
    notes="The bounds are those where a later round is no worse than early stopping; they were set after a first round "
    "of these numbers had been seen. People's errors are one set of labels: its seeds are alike.",
    questions=QUESTIONS,
)
