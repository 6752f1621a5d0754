"""Every objective by name: what a student is asked to match, given the labels and the teacher's logits."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfdistill import losses
from selfdistill._core.advice import Advice, Flag
from selfdistill._core.errors import SettingError
from selfdistill._core.labels import one_hot
from selfdistill.losses._distillation import (
    DecoupledTarget,
    TemperatureTarget,
    decoupled_distillation,
    distillation,
    mixed_cross_entropy,
    standardised_distillation,
)

Reading = Callable[[Tensor, Tensor], Any]


def _softened(given: Tensor, teacher: Tensor, *, temperature: float, weight: float) -> TemperatureTarget:
    return TemperatureTarget(teacher, given, temperature, weight)


def _decoupled(given: Tensor, teacher: Tensor, **numbers: float) -> DecoupledTarget:
    return DecoupledTarget(teacher, given, **numbers)


def _distribution(given: Tensor, teacher: Tensor) -> Tensor:
    """Take the teacher's distribution, and leave the given label out."""
    return teacher.softmax(-1)


def _mixture(given: Tensor, teacher: Tensor, *, mixing: float) -> Tensor:
    """Mix given label and teacher by any weight; above 1 away from the given label, below 0 away from the teacher."""
    # Furlanello et al. 2018 have 1, the teacher alone; weights above 1 are from Das & Sanghavi 2023, arXiv 2301.13304.
    return (1 - mixing) * given + mixing * teacher.softmax(-1)


def _top_two(given: Tensor, teacher: Tensor) -> Tensor:
    """Give one half to each of the two classes that the teacher thinks likeliest."""
    # Section 5 of the paper matches this with cross-entropy; its published code starts the student at the teacher's
    # weights and takes generalized cross-entropy with q = 0.7: "top-2-gce" here, from a start of its own.
    return teacher.new_zeros(teacher.shape).scatter_(1, teacher.topk(2, dim=-1).indices, 0.5)


def _predicted_label(given: Tensor, teacher: Tensor) -> Tensor:
    """Take the teacher's likeliest class as the label."""
    return one_hot(teacher.argmax(-1), teacher.shape[-1]).to(teacher.dtype)


@dataclass(frozen=True)
class Objective:
    """What a student is asked to match."""

    reading: Callable[..., Any]  # from given labels and the teacher's logits, both ``[b, K]``, to what the loss takes
    loss: Callable[[Tensor, Any], Tensor]  # logits and that to one value per example
    summary: str  # one line for ``--help``, with its source
    takes: Mapping[str, float]  # its numbers, with what they are if left out
    choose: str | None = None  # how the teacher is chosen by default, where the paper says so


OBJECTIVES = {
    "hinton": Objective(
        _softened,
        distillation,
        "the teacher at a temperature, and the given labels (Hinton et al. 2015)",
        {"temperature": 4.0, "weight": 0.9},
    ),
    "refinery": Objective(
        _distribution, losses.cross_entropy, "the teacher's soft labels only (Bagherinezhad et al. 2018)", {}
    ),
    "born-again": Objective(
        _mixture,
        mixed_cross_entropy,
        "given labels and teacher, mixed by any weight (Furlanello et al. 2018)",
        {"mixing": 1.0},
    ),
    "standardised": Objective(
        _softened,
        standardised_distillation,
        "as hinton, between logits of mean 0 and standard deviation 1 (Sun et al. 2024)",
        {"temperature": 2.0, "weight": 0.9},
    ),
    "dkd": Objective(
        _decoupled,
        decoupled_distillation,
        "the given class and the others apart, beside the given labels (Zhao et al. 2022)",
        {"temperature": 4.0, "alpha": 1.0, "beta": 8.0},
    ),
    "top-2": Objective(
        _top_two, losses.cross_entropy, "half a label for each of the teacher's two best (Jeong & Chung 2025)", {}
    ),
    "top-2-gce": Objective(
        _top_two, losses.generalized_cross_entropy, "the same with the loss of its authors' code", {}
    ),
    "noisy-best": Objective(
        _predicted_label,
        losses.cross_entropy,
        "the predictions of the teacher best on noisy held-out labels (Chen et al. 2021)",
        {},
        "held-out",
    ),
}


def own(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Objective:
    """Make an objective of a function of the student's logits, the teacher's and one-hot labels, all ``[b, K]``."""

    def loss(logits: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        value = function(logits, *target)
        if not isinstance(value, Tensor) or value.shape != logits.shape[:1] or not value.requires_grad:
            what = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise SettingError(
                f"the objective gives a value of {what} for {len(logits)} examples, or one without a gradient",
                "Give one value per example, such as cross_entropy(..., reduction='none').",
            )
        return value

    return Objective(lambda given, teacher: (teacher, given), loss, "a function of one's own", {})


def try_out(loss: Callable[[Tensor, Any], Tensor], reading: Reading, classes: int) -> None:
    """Take the loss of two examples, so that a function that is no objective fails before anything is written."""
    given = torch.eye(classes)[:2]
    loss(torch.zeros(len(given), classes, requires_grad=True), reading(given, torch.zeros_like(given)))


def objective(name: str, **explicit: float | None) -> tuple[Reading, Callable[[Tensor, Any], Tensor], dict[str, float]]:
    """Make an objective from its name and numbers."""
    if name not in OBJECTIVES:
        near = difflib.get_close_matches(name.lower(), OBJECTIVES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise SettingError(f"objective {name!r} does not exist", f"{hint}Choose one of: {', '.join(OBJECTIVES)}.")
    chosen_objective = OBJECTIVES[name]
    chosen = {word: value for word, value in explicit.items() if value is not None}
    for word in chosen:
        if word not in chosen_objective.takes:
            takers = ", ".join(other for other, one in OBJECTIVES.items() if word in one.takes)
            raise SettingError(
                Advice("objective {name!r} takes no {option}", name=name, option=Flag(word)),
                Advice(
                    "Leave {option} out", "choose another {--objective}: {takers}.", option=Flag(word), takers=takers
                ),
            )
    for word, value in chosen.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            hint = Advice("Leave {option} out.", option=Flag(word))
            raise SettingError(f"{word} is {value!r:.60}, but must be a number", hint)
    numbers = {word: float(chosen.get(word, default)) for word, default in chosen_objective.takes.items()}
    _check(numbers)
    return partial(chosen_objective.reading, **numbers), chosen_objective.loss, numbers


def _check(numbers: Mapping[str, float]) -> None:
    t, w, x = (numbers.get(word, 1.0) for word in ("temperature", "weight", "mixing"))
    if not (math.isfinite(t) and t > 0):
        raise SettingError(
            f"temperature is {t}, but must be finite and above 0", "1 is the teacher as it is, more is softer."
        )
    if not 0 <= w <= 1:
        raise SettingError(f"weight is {w}, but must be in [0, 1]", "It is the teacher's share; 0.9 is usual.")
    if not math.isfinite(x):
        raise SettingError(f"mixing is {x}, but must be finite", "1 is the teacher alone, 0 the given labels alone.")
    for word in ("alpha", "beta"):
        if not (math.isfinite(value := numbers.get(word, 0.0)) and value >= 0):
            raise SettingError(
                f"{word} is {value}, but must be finite and at least 0",
                Advice("1 and 8 are usual for {--alpha} and {--beta}."),
            )
