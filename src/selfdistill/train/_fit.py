"""From data and settings to a fitted model: build the parts, put a checkpoint back if there is one, train."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfdistill import networks
from selfdistill._core.dist import barrier
from selfdistill._core.errors import Interrupted
from selfdistill._core.events import Listener, RunStarted
from selfdistill._core.memory import enough_memory
from selfdistill._core.rng import derive, torch_generator
from selfdistill.data import Batch, LabelledData, TensorLoader, augment_for
from selfdistill.issues import LearningDynamics
from selfdistill.targets import Posterior, Targets
from selfdistill.train import _checkpoint
from selfdistill.train._loop import Position, predict_probabilities, train
from selfdistill.train._methods import method
from selfdistill.train._runtime import Runtime, TorchRuntime
from selfdistill.train._settings import Settings

__all__ = ["Fitted", "fit"]

_CHECKPOINT_SECONDS = 10.0
LESS_MEMORY = "Take a smaller --network, or a smaller --batch-size, or a smaller --image-size, or fewer data."


@dataclass(frozen=True, eq=False)
class Fitted:
    """What training leaves.

    Attributes:
        model: The trained network, in evaluation mode, on the run's device.
        targets: The per-sample state at the end.
        dynamics: What each example went through.
        settings: The settings as resolved.
        curves: Metrics of each epoch.
        warnings: Sentences for the user.
    """

    model: nn.Module
    targets: Targets[Any]
    dynamics: LearningDynamics
    settings: Settings
    curves: list[dict[str, float]]
    warnings: list[str]

    @property
    def counts(self) -> Tensor | None:
        """Expected counts ``[clean, given]`` that the targets estimated beside their posterior, where they do."""
        return self.targets.counts() if isinstance(self.targets, Posterior) else None


@enough_memory(LESS_MEMORY)
def fit(
    data: LabelledData,
    settings: Settings,
    *,
    model: nn.Module | None = None,
    targets: Targets[Any] | None = None,
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    tell: Listener = lambda event: None,
    checkpoints: Path | None = None,
    go_on: str = "",
) -> Fitted:
    """Train on labels that may be wrong.

    Args:
        data: Inputs and given labels.
        settings: Resolved settings, see `Settings.resolve`.
        model: A network of your own, ``[b, ...] → [b, K]`` logits; built from the settings if left out.
        targets: Per-sample state of your own; that of ``settings.method`` if left out.
        evaluations: Inputs and true labels by name; their accuracy is measured after each epoch and nothing is chosen
            by it.
        tell: Listener of events.
        checkpoints: Folder to save to and, if it holds a checkpoint, to go on from. With it, Ctrl-C saves and stops.
        go_on: What to tell the user after Ctrl-C.

    Returns:
        The network, the refined labels' state and the curves.

    Raises:
        SettingError: An unknown method or network, or a loss that is no number.
        RunError: A checkpoint that does not fit.
        Interrupted: Ctrl-C, after saving.
    """  # noqa: DOC502 (raised by what is called)
    chosen = method(settings.method)
    runtime = TorchRuntime(settings.device, settings.precision, compile=settings.compile)
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(derive(settings.seed, "network", runtime.rank))
        raw = model if model is not None else _network(data, settings)
        net = runtime.prepare(raw)
        loader = TensorLoader(
            data.inputs,
            data.labels,
            settings.batch_size or len(data),
            seed=settings.seed,
            device=runtime.device,
            rank=runtime.rank,
            world=runtime.world,
        )
        epochs = settings.epochs or 1
        targets = targets if targets is not None else chosen.build(data.labels, data.num_classes, epochs, len(loader))
        targets.to(runtime.device)
        dynamics = LearningDynamics(data.labels).to(runtime.device)
        optimizer, schedule = _optimizer(net, settings, epochs * len(loader))
        position = Position(loss=torch.zeros((), device=runtime.device))
        parts = {"model": raw, "optimizer": optimizer, "schedule": schedule, "targets": targets, "dynamics": dynamics}
        keeper = _Keeper(checkpoints, parts, runtime, len(loader), go_on)
        warnings = keeper.restore(position)
        tell(RunStarted(epochs, position.epoch, len(data), len(loader), tuple(warnings)))
        with keeper.listening():
            train(
                net,
                loader,
                targets,
                chosen.loss,
                optimizer,
                schedule,
                runtime,
                epochs=epochs,
                position=position,
                dynamics=dynamics,
                augment=_augment(settings, data, runtime),
                evaluate=_evaluator(raw, evaluations or {}, runtime),
                tell=tell,
                after_step=keeper.after_step,
            )
        keeper.save(position)
    raw.eval()
    return Fitted(raw, targets, dynamics, settings, position.curves, warnings)


def _network(data: LabelledData, settings: Settings) -> nn.Module:
    shape = tuple(data.inputs.shape[1:])
    spec = settings.network_for(len(data), shape)
    return networks.build(spec, shape, data.num_classes, seed=settings.seed, stats=data.preprocess.stats)


def _optimizer(
    net: nn.Module, settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    peak = settings.lr or 0.1
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=peak,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights: a third off the step of a small network on a CPU
    )
    rise = min(max(settings.lr_warmup or 0.3, 2 / (steps + 1)), 1.0)  # at least one step up: torch divides by them
    # One step more than will be taken: the schedule is stepped after the last step too.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps + 1, pct_start=rise, cycle_momentum=False)
    return optimizer, schedule


def _augment(settings: Settings, data: LabelledData, runtime: Runtime) -> Callable[[Batch, int, int], Tensor]:
    shape = tuple(data.inputs.shape[1:])
    fill = data.preprocess.stats[0] if data.preprocess.stats else ()
    spec = augment_for(settings.augment_for_network(len(data), shape), shape, fill)
    if spec is None:
        return lambda batch, epoch, step: batch.inputs

    def apply(batch: Batch, epoch: int, step: int) -> Tensor:
        generator = torch_generator(settings.seed, "augment", epoch, step)
        return spec(batch.inputs, generator, rank=runtime.rank, world=runtime.world, total=batch.total)

    return apply


def _evaluator(
    model: nn.Module, sets: Mapping[str, tuple[Tensor, Tensor]], runtime: Runtime
) -> Callable[[], dict[str, float]]:
    def evaluate() -> dict[str, float]:
        return {
            f"{name}_accuracy": (predict_probabilities(model, x, runtime).argmax(-1) == y).float().mean().item()
            for name, (x, y) in sets.items()
        }

    return evaluate


class _Keeper:
    """Saves at the end of epochs, at most every few seconds, and when the user presses Ctrl-C."""

    def __init__(self, folder: Path | None, parts: dict[str, Any], runtime: Runtime, steps: int, go_on: str) -> None:
        self.folder, self.parts, self.runtime, self.steps, self.go_on = folder, parts, runtime, steps, go_on
        self.saved = time.monotonic()
        self.stop = False

    def restore(self, position: Position) -> list[str]:
        if self.folder is None:
            return []
        path, warnings = _checkpoint.latest(self.folder)
        if warnings:
            used = f"{path.name} is used instead" if path else "none is left, so training begins anew"
            warnings = [*warnings, f"Of the checkpoints in {self.folder}, {used}."]
        if path is not None:
            counters = _checkpoint.load(path, self.parts, self.runtime.device)
            torch.set_rng_state(counters.pop("rng").cpu())
            cuda = counters.pop("cuda_rng")
            if cuda is not None:
                torch.cuda.set_rng_state(cuda.cpu(), self.runtime.device)
            vars(position).update(counters)
        return warnings

    def save(self, position: Position) -> None:
        if self.folder is not None and self.runtime.rank == 0:
            cuda = torch.cuda.get_rng_state(self.runtime.device) if self.runtime.device.type == "cuda" else None
            counters = vars(position) | {"rng": torch.get_rng_state(), "cuda_rng": cuda}
            _checkpoint.save(self.folder, position.epoch * self.steps + position.step, self.parts, counters)
        barrier()
        self.saved = time.monotonic()

    def after_step(self, position: Position, epoch_ended: bool) -> None:
        """Save if due; many processes save at an epoch's end only, for before it their staged writes differ.

        Raises:
            Interrupted: Ctrl-C, after saving.
        """
        if self.folder is None or (self.runtime.world > 1 and not epoch_ended):
            return
        due = time.monotonic() - self.saved > _CHECKPOINT_SECONDS if self.runtime.world == 1 else epoch_ended
        if self.stop or due:
            self.save(position)
        if self.stop:
            raise Interrupted(f"stopped in epoch {position.epoch + 1}; everything so far is saved", self.go_on)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Turn Ctrl-C into a request to stop after the step; a second one stops at once."""
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def request(number: int, frame: Any) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
