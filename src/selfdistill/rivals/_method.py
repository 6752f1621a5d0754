"""What a method of training is: the targets it keeps, the loss it takes, and what else it asks of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from selfdistill import losses, targets
from selfdistill._core.errors import SettingError
from selfdistill.data._loader import Batch
from selfdistill.losses._cross_entropy import label_cross_entropy
from selfdistill.targets._base import GivenLabels

LossFn = Callable[[Tensor, Any], Tensor]
Forward = Callable[..., Tensor]
View = Callable[[int], Tensor]
Objective = Callable[[Forward, Batch, View, Any, LossFn], tuple[Tensor, Tensor]]
Curves = Sequence[dict[str, float]]


class FirstStage(NamedTuple):
    """What a training that comes first leaves to the method that asked for it."""

    probabilities: Tensor  # its network's predictions on the training set in evaluation mode, float32 `[n, K]`
    refined: Tensor  # its refined label distributions, `[n, K]`


@dataclass(frozen=True)
class Context:
    """What a method may build its targets from.

    Attributes:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        epochs: Epochs of this training.
        steps: Steps per epoch.
        seed: Seed of the run.
        noise_rate: Share of wrong labels, where the user knows it.
        noise_matrix: ``T[clean, given]``, ``[K, K]``, rows sum to 1, where the user knows it.
        first_stage: What the training that came first left; ``None`` where the method asked for none.
    """

    labels: Tensor
    num_classes: int
    epochs: int
    steps: int
    seed: int = 0
    noise_rate: float | None = None
    noise_matrix: Tensor | None = None
    first_stage: FirstStage | None = None

    def required(self) -> FirstStage:
        """Return what the first training left.

        Raises:
            SettingError: There was none.
        """
        if self.first_stage is None:
            raise SettingError(
                "this method builds on a training that comes first, but none was run", "Pass first_stage."
            )
        return self.first_stage


def matched(forward: Forward, batch: Batch, view: View, target: Any, loss: LossFn) -> tuple[Tensor, Tensor]:
    """Take one view of a batch and match its targets: the objective of methods without steps of their own."""
    logits = forward(view(0))
    if loss is losses.cross_entropy and isinstance(target, GivenLabels):
        # The same numbers without one-hot rows: a sixth less of the loop's own share of a small network's step.
        return label_cross_entropy(logits, target.labels.index_select(0, batch.index)), logits
    return loss(logits, target.read(batch.index, logits.detach())), logits


def given_labels(context: Context) -> GivenLabels:
    """Build the targets of plain training."""
    return GivenLabels(context.labels, context.num_classes)


def never(epoch: int, epochs: int) -> bool:
    """Ask for no predictions of the training set."""
    return False


@dataclass(frozen=True)
class Method:
    """A method of training.

    Attributes:
        build: From a `Context` to targets.
        loss: Logits and what the targets read to one value per example.
        summary: One line for ``--help`` and the documentation.
        networks: 1, or 2 that train side by side; logits are then ``[b, 2, K]``.
        objective: What is done with a batch.
        needs_train_predictions: From the epoch just done, counted from 0, and the epochs in all to whether the training
            set is predicted in evaluation mode; the targets' ``take_train_predictions`` then gets the probabilities
            ``[n, K]``, or ``[n, 2, K]`` of a pair.
        first: Method of a training that comes first, unless the user gave one of ``takes``; ``None``: none.
        held_out: Share of each class's examples that is kept from training, to choose an epoch by.
        keep: From the curves so far to whether the epoch just done is the best yet, and its weights the ones to keep;
            ``None`` keeps the last.
        may_hold_out: Whether ``Settings.held_out`` may be set; not where targets are estimated from all examples.
        whole_batches: Whether a step compares or mixes the examples of its batch, which then is not computed in parts.
        takes: Which of the settings ``noise_rate`` and ``noise_matrix`` it can use.
        numbers: Options that shape the loss, by name: the value, and what is usual.
    """

    build: Callable[[Context], targets.Targets[Any]]
    loss: LossFn
    summary: str
    networks: int = 1
    objective: Objective = matched
    needs_train_predictions: Callable[[int, int], bool] = never
    first: str | None = None
    held_out: float = 0.0
    keep: Callable[[Curves], bool] | None = None
    may_hold_out: bool = False
    whole_batches: bool = False
    takes: frozenset[str] = frozenset()
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
