"""The loop, on one screen, like the paper: match the target, write the prediction, commit at the epoch's end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.dist import sum_over_processes
from selfdistill._core.errors import SettingError
from selfdistill._core.events import BatchDone, EpochDone, Listener
from selfdistill.data._loader import Batch, TensorLoader
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.rivals import Method
from selfdistill.rivals._method import View
from selfdistill.targets import Targets
from selfdistill.train._runtime import TorchRuntime

_VALUES = 2**23  # of images, that are predicted at once: 682 of 64 x 64 pixels in colour
_FAR = 10.0  # times what is usual, from which an option of the loss is named where it diverges


@dataclass
class Position:
    """How far a run has come; all that a checkpoint needs besides the parts' own states."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done in the current epoch
    seconds: float = 0.0  # time spent in the current epoch so far
    # sum of this epoch's losses, a scalar tensor on the device
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    curves: list[dict[str, float]] = field(default_factory=list)  # metrics of each finished epoch


@dataclass
class Trainer:
    """All that one training is made of; `run` is the loop."""

    network: nn.Module  # the network itself, whose weights go into checkpoints
    model: nn.Module  # what `TorchRuntime.prepare` made of it
    loader: TensorLoader  # gives the batches of an epoch
    targets: Targets[Any]  # per-sample state
    method: Method  # what is done with a batch, and its loss
    optimizer: torch.optim.Optimizer  # steps the weights
    schedule: torch.optim.lr_scheduler.LRScheduler  # steps the learning rate, once a step
    runtime: TorchRuntime  # device, precision, processes
    epochs: int  # epochs in all
    position: Position  # where to start; moved on in place
    dynamics: LearningDynamics  # record of what each example went through
    augment: Callable[[Batch, int, int, int], Tensor]  # batch, epoch, step and number of the view to inputs
    weights: Tensor | None  # how many examples each counts as in the loss, of mean 1, `[n]`; `None`: one
    accumulate: int  # parts in which a batch is computed before the step
    average: AveragedModel | None  # moving average of the network's weights over steps, if any
    predict_train: Callable[[], Tensor]  # predicts the training set in evaluation mode, for methods that ask for it
    evaluate: Callable[[], Mapping[str, float]]  # accuracies after each epoch, by name
    tell: Listener  # listener of events
    # called after each step with the position and whether an epoch just ended; may save and may raise
    after_step: Callable[[Position, bool], None] = lambda position, epoch_ended: None

    def states(self) -> dict[str, Any]:
        """Name the parts whose states a checkpoint holds."""
        parts = {"model": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"targets": self.targets, "dynamics": self.dynamics}
        return parts if self.average is None else parts | {"average": self.average}

    def run(self) -> None:
        """Train from ``position`` to ``epochs``."""
        method, targets, position = self.method, self.targets, self.position
        for epoch in range(position.epoch, self.epochs):
            self.model.train()
            started = time.perf_counter() - position.seconds
            for batch in self.loader.epoch(epoch, position.step):
                predicted = [self._backward(*part) for part in self._parts(batch, epoch)]
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
                if self.average is not None:
                    self.average.update_parameters(self.network)
                targets.write(batch.index, predicted[0] if len(predicted) == 1 else torch.cat(predicted))
                position.step += 1
                position.seconds = time.perf_counter() - started
                self.tell(BatchDone(epoch, position.step, batch.total))
                self.after_step(position, False)
            if method.needs_train_predictions(epoch, self.epochs):
                targets.take_train_predictions(self.predict_train())  # type: ignore[operator]  # theirs have it
                position.seconds = time.perf_counter() - started
            mean, written = targets.end_epoch()
            self.dynamics.update(mean, written)
            position.curves.append(self._metrics(written) | dict(self.evaluate()))
            position.epoch, position.step, position.seconds = epoch + 1, 0, 0.0
            position.loss = torch.zeros_like(position.loss)
            self.tell(EpochDone(epoch, position.curves[-1]))
            self.after_step(position, True)

    def _parts(self, batch: Batch, epoch: int) -> Iterator[tuple[Batch, View, bool]]:
        """Cut a batch that is computed in parts of two or more; views are those of the whole. The last is marked."""
        view: View = partial(self.augment, batch, epoch, self.position.step)
        count = min(self.accumulate, max(1, len(batch.index) // 2))
        if count == 1:
            yield batch, view, True
            return
        whole = cache(view)
        for rows in torch.arange(len(batch.index)).tensor_split(count):
            some = slice(int(rows[0]), int(rows[-1]) + 1)
            weight = None if batch.weight is None else batch.weight[some]
            part = Batch(batch.inputs[some], batch.index[some], batch.labels[some], weight, batch.total)
            yield part, partial(_rows_of, whole, some), some.stop == len(batch.index)

    def _backward(self, batch: Batch, view: View, last: bool) -> Tensor:
        """Add the gradient of a batch, or of a part of one, and its loss; give the predictions."""
        method, runtime = self.method, self.runtime
        with runtime.joining(last):
            values, logits = method.objective(self._forward, batch, view, self.targets, method.loss)
            weighted = values if self.weights is None else values * self.weights[batch.index]
            self.position.loss.add_(runtime.backward(weighted, batch))
        return _predicted(logits)

    def _forward(self, *inputs: Any) -> Tensor:
        with self.runtime.autocast():
            logits: Tensor = self.model(*inputs)
        return logits

    def _metrics(self, written: Tensor) -> dict[str, float]:
        """Measure the epoch just done."""
        position, dynamics, drawn = self.position, self.dynamics, int(written.sum())
        loss = float(sum_over_processes(position.loss.clone())) / self.runtime.world / drawn
        if not torch.isfinite(torch.tensor(loss)):
            raise SettingError(f"the loss became {loss} in epoch {position.epoch + 1}", _hint(self.method.numbers))
        return {
            "loss": loss,
            "agreement": dynamics.learned[written].float().mean().item(),
            "changed_share": dynamics.changed.item() / drawn,
            "refined_share": (self.targets.refined().argmax(-1) != dynamics.labels).float().mean().item(),
            "lr": float(self.schedule.get_last_lr()[0]),
            "seconds": position.seconds,
            "examples_per_second": drawn / max(position.seconds, 1e-9),
        }


def _rows_of(view: View, some: slice, number: int) -> Tensor:
    return view(number)[some]


def _predicted(logits: Tensor) -> Tensor:
    """Probabilities ``[b, K]``; of a pair of networks, their mean."""
    probabilities = logits.detach().float().softmax(-1)
    return probabilities if probabilities.ndim == 2 else probabilities.mean(1)


def _hint(numbers: Mapping[str, tuple[float, float]]) -> str:
    """Name what makes a loss diverge: a number of the loss that is far from usual, or else the learning rate."""
    hint = ""
    for name, (value, usual) in numbers.items():
        if abs(value) > _FAR * usual or 0 < abs(value) < usual / _FAR:
            way = "Bring {option} ({value:g}) nearer to the usual {usual:g}."
            hint += " " * bool(hint) + Advice(way, option=Flag(name), value=value, usual=usual)
    return hint or Advice("Lower {--lr}.")


@torch.no_grad()
def predict_probabilities(
    model: nn.Module,
    inputs: Tensor,
    runtime: TorchRuntime,
    batch_size: int = 1024,
    which: int | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Predict class probabilities in evaluation mode: float32 ``[n, K]`` on the CPU; ``rows`` names some."""
    # The network's mode is put back. Of a ``Pair`` ``which`` names the network; ``None`` takes the mean of
    # both. Large images come fewer at a time.
    was_training = model.training
    model.eval()
    size, parts = math.prod(inputs.shape[1:]) if inputs.ndim == 4 else 1, []
    step = max(1, min(batch_size, _VALUES // size))
    for start in range(0, len(inputs) if rows is None else len(rows), step):
        some = slice(start, start + step)
        with runtime.autocast():
            part = (inputs[some] if rows is None else inputs[rows[some]]).to(runtime.device)
            logits = model(part) if which is None else model(part, which)
        parts.append(logits.float().softmax(-1).cpu())
    model.train(was_training)
    return torch.cat(parts)
