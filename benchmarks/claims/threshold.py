"""The threshold at one half: hard own predictions keep the truth on a wrong label if their weight exceeds one half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.claims import clusters
from benchmarks.claims.claim import Measured
from benchmarks.claims.closed_forms import first_layer_kernel
from benchmarks.claims.problems import Problem
from benchmarks.claims.trainings import correct, memory_of, trained
from selfdistill.air._measures import one_hot
from selfdistill.targets import SelfDistillation
from selfdistill.targets._dong2019selfdistill import hard
from selfdistill.theory import Spectrum, gradient_flow, hard_distillation

OWN = (0.3, 0.45, 0.55, 0.7)
_EARLY, _EARLY_SHARE = 6, 0.1  # epochs in which the given labels have all the weight, and their share at most
_INTERVAL = 0.05  # of kernel time, for which the hard labels are held
_CLASSES = 10


def network(problem: Problem, settings: Mapping[str, Any], seed: int) -> Measured:
    """Train with each constant own weight after an early phase."""
    epochs = settings["epochs"]
    early, numbers = min(_EARLY / epochs, _EARLY_SHARE), {}
    for own in OWN:
        targets = SelfDistillation(
            problem.train.labels,
            problem.train.num_classes,
            function=hard,
            given_weight=_after(own, early),
            epochs=epochs,
        )
        outcome = trained(problem, "cross-entropy", settings["network"], epochs, seed, targets=targets)
        found = memory_of(problem, outcome)
        numbers |= {f"own {own:g}: {key}": found[key] for key in ("wrong fitted", "wrong put right", "test")}
    return Measured(numbers)


def _after(own: float, early: float) -> Callable[[float], float]:
    return lambda progress: 1.0 if progress < early else 1 - own


def locked(wrong: float, cap: float = 1.0) -> float:
    r"""Share of labels that must end wrong when the own weight is cap x agreement.

    A wrong label is given up as long as the own weight is below one half, so agreement rises until it is 0.5 / cap; of
    the ``1 - wrong`` that agree at first, the rest are memorised: :math:`\max(0, w - 1 + 0.5 / cap)`. Derived here.
    """
    return max(0.0, wrong - 1 + 0.5 / cap)


def kernel(settings: Mapping[str, Any], seed: int) -> Measured:
    """Train in the kernel regime from a common early phase on: constant weights, agreement, a schedule."""
    keys = ("examples", "dimension", "clusters", "radius", "noise")
    made = clusters.make(seed, **{key: settings[key] for key in keys}, classes=_CLASSES)
    spectrum = Spectrum.of(first_layer_kernel(made.inputs))
    given = one_hot(made.given, _CLASSES)
    early = 1.5 / float(spectrum.values[settings["clusters"] - 1])
    start = gradient_flow(spectrum, given, early)
    steps = round(settings["time"] / _INTERVAL)
    ways: dict[str, Callable[[int, float], float]] = {
        "own 0.4": lambda step, agreement: 0.4,
        "own 0.6": lambda step, agreement: 0.6,
        "agreement": lambda step, agreement: agreement,
        "agreement 0.9": lambda step, agreement: 0.9 * agreement,
        "schedule": lambda step, agreement: min(1.0, 0.55 + 0.45 * step / steps),
    }
    wrong, right = float((made.given != made.truth).double().mean()), start.argmax(1) == made.truth
    numbers = {"given right": 1 - wrong, "early: right": correct(start, made.truth)}
    for name, weight in ways.items():
        trace = hard_distillation(spectrum, given, _INTERVAL, steps, weight, flow=True, start=start)
        numbers[f"{name}: right"] = correct(trace.outputs[-1], made.truth)
        numbers[f"{name}: kept"] = correct(trace.outputs[-1][right], made.truth[right])
    plain = gradient_flow(spectrum, given, settings["time"])
    numbers["plain: right"] = correct(plain, made.truth)
    numbers["own 0.4: right over given"] = numbers["own 0.4: right"] - (1 - wrong)
    numbers["agreement, lock"] = (1 - numbers["agreement: right"]) - locked(wrong)
    numbers["agreement 0.9, lock"] = (1 - numbers["agreement 0.9: right"]) - locked(wrong, 0.9)
    return Measured(numbers)
