"""What a run says while it goes on. Whoever listens (a progress bar, a file, a monitor) is a function of one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RunStarted:
    """Training begins or goes on."""

    epochs: int  # epochs in all
    first_epoch: int  # epochs already done, more than 0 where a run is resumed
    examples: int  # training examples
    steps: int  # steps per epoch
    warnings: tuple[str, ...] = ()  # sentences for the user, such as that a checkpoint was damaged
    curves: tuple[dict[str, float], ...] = ()  # metrics of the epochs already done, see `EpochDone`


@dataclass(frozen=True)
class Stage:
    """A part of a long piece of work begins that has no epochs."""

    text: str  # what is done, a few words


@dataclass(frozen=True)
class BatchDone:
    """One step is done. Nothing in it waits for the device."""

    epoch: int  # number of the epoch, from 0
    step: int  # steps done in this epoch
    examples: int  # examples of this step, over all processes


@dataclass(frozen=True)
class EpochDone:
    """One epoch is done."""

    epoch: int  # number of the epoch, from 0
    # `loss` (mean, nats), `agreement` (share of predictions equal to the given label), `refined_share` (share of
    # refined labels that differ from the given ones), `lr`, `seconds`, `examples_per_second`, and for each evaluation
    # set `<name>_accuracy`
    metrics: dict[str, float] = field(default_factory=dict)


Event = RunStarted | Stage | BatchDone | EpochDone
Listener = Callable[[Event], None]


def everyone(*listeners: Listener) -> Listener:
    """Make one listener of several."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
