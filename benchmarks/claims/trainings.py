"""One training of a problem by the package's own loop, with what the claims look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.claims.problems import Problem
from selfdistill import train
from selfdistill._core.events import EpochDone, Event
from selfdistill.networks._build import build
from selfdistill.targets import Targets
from selfdistill.train._fit import fit
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import predict_probabilities
from selfdistill.train._runtime import TorchRuntime

RUNTIME = TorchRuntime("cpu", "fp32")


class Trained(NamedTuple):
    """What a training leaves.

    Attributes:
        fitted: See `selfdistill.train.fit`.
        probabilities: Of the training set after each epoch that was asked for, in evaluation mode, ``[n, C]``.
    """

    fitted: Fitted
    probabilities: dict[int, Tensor]

    def curve(self, name: str) -> list[float]:
        """Accuracy on a set after each epoch."""
        return [epoch[f"{name}_accuracy"] for epoch in self.fitted.curves]

    @property
    def last(self) -> float:
        """Test accuracy at the end."""
        return self.curve("test")[-1]

    def at_best(self, chooser: str) -> float:
        """Test accuracy of the first epoch that is best on another set."""
        curve = self.curve(chooser)
        return self.curve("test")[curve.index(max(curve))]

    def best_epoch(self, chooser: str = "choice") -> int:
        """Number of epochs done at the first epoch that is best on a set."""
        curve = self.curve(chooser)
        return curve.index(max(curve)) + 1


def trained(
    problem: Problem,
    method: str,
    network: str,
    epochs: int,
    seed: int,
    *,
    targets: Targets[Any] | None = None,
    keep: Callable[[int], bool] = lambda epochs_done: False,
    weight_decay: float | None = None,
) -> Trained:
    """Train once.

    Args:
        problem: The data.
        method: Of the package.
        network: See `selfdistill.networks.build`.
        epochs: Epochs.
        seed: Of weights and batches.
        targets: In place of the method's own.
        keep: After which epochs to predict the training set.
        weight_decay: In place of the package's own.

    Returns:
        Curves, state and predictions.
    """
    settings = train.Settings(method=method, network=network, epochs=epochs, seed=seed, augment="none")
    if weight_decay is not None:
        settings = replace(settings, weight_decay=weight_decay)
    settings = settings.resolve(len(problem.train), "cpu")
    shape = tuple(problem.train.inputs.shape[1:])
    stats = problem.train.preprocess.stats
    model = build(network, shape, problem.train.num_classes, seed=seed, stats=stats)
    found: dict[int, Tensor] = {}

    def listen(event: Event) -> None:
        if isinstance(event, EpochDone) and keep(event.epoch + 1):
            found[event.epoch + 1] = predicted(model, problem.train.inputs)

    fitted = fit(problem.train, settings, model=model, targets=targets, evaluations=problem.sets, tell=listen)
    return Trained(fitted, found)


def predicted(model: nn.Module, inputs: Tensor) -> Tensor:
    """Class probabilities in evaluation mode, ``[n, C]``."""
    return predict_probabilities(model, inputs, RUNTIME)


def memory_of(problem: Problem, outcome: Trained) -> dict[str, float]:
    """Say what a training made of the wrong labels.

    Args:
        problem: The data.
        outcome: The training.

    Returns:
        Share of wrong labels that the network predicts at the end (fitted), share that it puts right, accuracy of the
        refined and of the given labels, and the part of the wrong labels that refining took away (negative where it
        added some).
    """
    truth, given, wrong = problem.truth, problem.train.labels, problem.wrong
    guess = predicted(outcome.fitted.model, problem.train.inputs).argmax(1)
    refined = outcome.fitted.targets.refined().argmax(-1).cpu()
    errors, before = float((refined != truth).double().mean()), float(wrong.double().mean())
    return {
        "wrong fitted": float((guess == given)[wrong].double().mean()),
        "wrong put right": float((guess == truth)[wrong].double().mean()),
        "refined right": 1 - errors,
        "given right": 1 - before,
        "noise removed": 1 - errors / before,
        "test": outcome.last,
    }


def correct(outputs: Tensor, truth: Tensor) -> float:
    """Share of rows whose largest entry is the truth."""
    return float((outputs.argmax(-1) == truth).to(torch.float64).mean())
