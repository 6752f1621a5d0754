"""What a run says while it goes on. Whoever listens (a progress bar, a file, a monitor) is a function of one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunStarted:
    """Training begins or goes on.

    Attributes:
        epochs: Epochs in all.
        first_epoch: Epochs already done, more than 0 where a run is resumed.
        examples: Training examples.
        steps: Steps per epoch.
        warnings: Sentences for the user, such as that a checkpoint was damaged.
        curves: Metrics of the epochs already done, see `EpochDone`.
    """

    epochs: int
    first_epoch: int
    examples: int
    steps: int
    warnings: tuple[str, ...] = ()
    curves: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class Stage:
    """A part of a long piece of work begins that has no epochs.

    Attributes:
        text: What is done, a few words.
    """

    text: str


@dataclass(frozen=True)
class BatchDone:
    """One step is done. Nothing in it waits for the device.

    Attributes:
        epoch: Number of the epoch, from 0.
        step: Steps done in this epoch.
        examples: Examples of this step, over all processes.
    """

    epoch: int
    step: int
    examples: int


@dataclass(frozen=True)
class EpochDone:
    """One epoch is done.

    Attributes:
        epoch: Number of the epoch, from 0.
        metrics: ``loss`` (mean, nats), ``agreement`` (share of predictions equal to the given label),
            ``refined_share`` (share of refined labels that differ from the given ones), ``lr``, ``seconds``,
            ``examples_per_second``, and for each evaluation set ``<name>_accuracy``.
    """

    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)


Event = RunStarted | Stage | BatchDone | EpochDone
Listener = Callable[[Event], None]


def everyone(*listeners: Listener) -> Listener:
    """Make one listener of several."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
