"""From data and settings to a fitted model: build the parts, put a checkpoint back if there is one, train."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.events import Listener, RunStarted
from selfdistill._core.labels import held_out
from selfdistill._core.memory import check_memory, translate_out_of_memory
from selfdistill._core.rng import derive, torch_generator
from selfdistill._core.settings import WEIGHT_DECAY, ResolvedSettings, Settings
from selfdistill.data._labelled import LabelledData
from selfdistill.data._loader import Batch, TensorLoader, augment_for
from selfdistill.issues._toneva2019forgetting import LearningDynamics
from selfdistill.networks._build import build
from selfdistill.networks._small_networks import Pair
from selfdistill.noise._files import read_matrix
from selfdistill.rivals import Method
from selfdistill.rivals._method import Context, FirstStage
from selfdistill.targets import Targets
from selfdistill.train._checkpoint_manager import CheckpointManager
from selfdistill.train._closed import CLOSED, fit_closed
from selfdistill.train._fitted import Fitted
from selfdistill.train._loop import Position, Trainer, predict_probabilities
from selfdistill.train._methods import method, method_of
from selfdistill.train._runtime import TorchRuntime, local_statistics
from selfdistill.train._settings import choose_augment, choose_network
from selfdistill.train._state_checks import BestWeights

_EACH = 48  # bytes that training takes at its peak for each example and class; 34 to 47 were measured
LESS_MEMORY = Advice(
    "Take a smaller {--network}", "a smaller {--batch-size}", "a smaller {--image-size}", "fewer data."
)


@translate_out_of_memory(LESS_MEMORY)
def fit(
    data: LabelledData,
    settings: ResolvedSettings,
    *,
    model: nn.Module | None = None,
    targets: Targets[Any] | None = None,
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    tell: Listener = lambda event: None,
    checkpoints: Path | None = None,
    go_on: str = "",
    method: Method | None = None,
    epoch_done: Callable[[int, nn.Module], None] = lambda epoch, model: None,
    about: Mapping[str, Any] | None = None,
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
        method: A method of your own, instead of the one that ``settings.method`` names.
        epoch_done: Takes epochs done and the network after each epoch, before a checkpoint says that it is done.
        about: Whose checkpoints these are: plain values by name, kept in them and compared before going on.

    Returns:
        The network, the refined labels' state and the curves.

    Raises:
        SettingError: An unknown method or network, weights or label distributions for a network, or a loss that is no
            number.
        RunError: A checkpoint that does not fit.
        Interrupted: Ctrl-C, after saving.
    """  # noqa: DOC502 (raised by what is called)
    _check_memory(data, settings)
    if settings.method == CLOSED and method is None:
        return fit_closed(data, settings, evaluations or {}, tell)
    chosen = method or method_of(settings)
    _check(data, settings, model, chosen)
    first_stage = _first_stage(chosen, data, settings, model, tell, checkpoints, go_on, about)
    runtime = TorchRuntime(settings.device, settings.precision, compile=settings.compile)
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(derive(settings.seed, "network", runtime.rank))
        network = model if model is not None else _network(data, settings, chosen)
        trainer, held = _trainer(data, settings, chosen, network, targets, first_stage, runtime)
        shown = network if trainer.average is None else trainer.average.module
        trainer.evaluate, trainer.tell = _evaluator(shown, data, held, evaluations or {}, runtime), tell
        best, length = BestWeights(), (settings.epochs, len(trainer.loader))
        manager = CheckpointManager(checkpoints, trainer.states() | {"kept": best}, runtime, length, go_on, about)
        position = trainer.position
        warnings = [*manager.restore(position), *local_statistics(network, runtime)]

        def after_step(position: Position, epoch_ended: bool) -> None:
            if epoch_ended and chosen.keep is not None and chosen.keep(position.curves):
                best.take(shown, position.epoch)
            if epoch_ended:
                epoch_done(position.epoch, shown)
            manager.after_step(position, epoch_ended)

        trainer.after_step = after_step
        tell(RunStarted(length[0], position.epoch, len(data), length[1], tuple(warnings), tuple(position.curves)))
        with manager.listening(), _compiling():
            trainer.run()
        manager.save(position)
        if shown is not network:
            network.load_state_dict(shown.state_dict())
        if best.epoch is not None:
            best.put_back(network)
            _predict(network, data, trainer.targets, runtime, torch.arange(len(data)))
        elif len(held):
            _predict(network, data, trainer.targets, runtime, held)
    network.eval()
    return Fitted(network, trainer.targets, trainer.dynamics, settings, position.curves, warnings, best.epoch)


@contextmanager
def _compiling() -> Generator[None]:
    """Say in one line why torch could not compile a network; that comes with the first step."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        problem = f"torch.compile failed: {' '.join(str(error).partition('Set TORCH')[0].split())}"
        raise SettingError(problem, Advice("Leave {--compile} out."), param="compile") from error


def _trainer(
    data: LabelledData,
    settings: ResolvedSettings,
    chosen: Method,
    network: nn.Module,
    targets: Targets[Any] | None,
    first_stage: FirstStage | None,
    runtime: TorchRuntime,
) -> tuple[Trainer, Tensor]:
    """Put a training together; and the positions that it holds out."""
    model = runtime.prepare(network)
    drawn, held = held_out(data.labels, settings.held_out or chosen.held_out, settings.seed)
    loader = TensorLoader(
        data.inputs, data.labels, settings.batch_size, seed=settings.seed, device=runtime.device, rank=runtime.rank,
        world=runtime.world, only=drawn,
    )  # fmt: skip
    targets = targets if targets is not None else chosen.build(_context(data, settings, len(loader), first_stage))
    targets.to(runtime.device)
    dynamics = LearningDynamics(data.labels).to(runtime.device)
    optimizer, schedule = _optimizer(model, settings, settings.epochs * len(loader))
    trainer = Trainer(
        network=network,
        model=model,
        loader=loader,
        targets=targets,
        method=_naming(chosen, settings, Settings().resolve(len(data), settings.device)),
        optimizer=optimizer,
        schedule=schedule,
        runtime=runtime,
        epochs=settings.epochs,
        position=Position(loss=torch.zeros((), device=runtime.device)),
        dynamics=dynamics,
        augment=_augment(settings, data, runtime),
        weights=_weights(data, runtime),
        accumulate=settings.accumulate,
        average=None if settings.ema is None else _average(network, settings.ema),
        predict_train=lambda: _predict_train(network, data, chosen, runtime),
        evaluate=dict,
        tell=lambda event: None,
    )
    return trainer, held


def _check_memory(data: LabelledData, settings: ResolvedSettings) -> None:
    if data.mapped is None and not settings.device.startswith("cuda"):
        check_memory(
            f"{len(data):,} examples of {data.num_classes:,} classes",
            _EACH * len(data) * data.num_classes,
            "Join or leave out rare classes, or take fewer examples.",
        )


def _check(data: LabelledData, settings: ResolvedSettings, model: nn.Module | None, chosen: Method) -> None:
    """Refuse label distributions, and one network for a method that trains two."""
    if data.distributions is not None:
        raise SettingError(
            f"method {settings.method!r} takes no label distributions",
            Advice("Choose {--method} {closed}, and leave out what asks for a network.", closed=CLOSED),
        )
    if model is not None and chosen.networks == 2 and not isinstance(model, Pair):
        raise SettingError(
            f"method {settings.method!r} trains two networks, but one was given",
            "Leave model out: both are then built from the settings.",
        )


def _naming(chosen: Method, settings: ResolvedSettings, usual: ResolvedSettings) -> Method:
    """Let a learning rate or weight decay that makes any training diverge be named where it does."""
    numbers = {"lr": (settings.lr, usual.lr)}
    if settings.weight_decay >= 1:
        numbers["weight_decay"] = (settings.weight_decay, WEIGHT_DECAY)
    return replace(chosen, numbers={**chosen.numbers, **numbers})


def _weights(data: LabelledData, runtime: TorchRuntime) -> Tensor | None:
    """Weights of the examples' losses, of mean 1, so that the learning rate keeps its meaning."""
    if data.weights is None:
        return None
    found = torch.as_tensor(data.weights, dtype=torch.float32)
    return (found / found.mean()).to(runtime.device)


def _first_stage(
    chosen: Method,
    data: LabelledData,
    settings: ResolvedSettings,
    model: nn.Module | None,
    tell: Listener,
    checkpoints: Path | None,
    go_on: str,
    about: Mapping[str, Any] | None,
) -> FirstStage | None:
    """Train what the method wants trained first, or take it up where it was left."""
    name = chosen.first
    if name is None or any(getattr(settings, known) is not None for known in chosen.takes):
        return None
    if method(name).networks == 1:  # a pair lends its first network
        settings = replace(settings, network=settings.network.strip().removeprefix("2*"))
        model = model.a if isinstance(model, Pair) else model
    first = fit(
        data,
        replace(settings, method=name, noise_rate=None, noise_matrix=None),
        model=deepcopy(model),
        tell=tell,
        checkpoints=None if checkpoints is None else checkpoints / "first",
        go_on=go_on,
        about=about,
    )
    runtime = TorchRuntime(settings.device, settings.precision)
    return FirstStage(predict_probabilities(first.model, data.inputs, runtime), first.refined.cpu())


def _context(data: LabelledData, settings: ResolvedSettings, steps: int, first_stage: FirstStage | None) -> Context:
    file, k, epochs, seed = settings.noise_matrix, data.num_classes, settings.epochs, settings.seed
    matrix = None if file is None else read_matrix(file, classes=data.classes).float()
    return Context(data.labels, k, epochs, steps, seed, settings.noise_rate, matrix, first_stage)


def _predict_train(model: nn.Module, data: LabelledData, chosen: Method, runtime: TorchRuntime) -> Tensor:
    """Predict the training set in evaluation mode: ``[n, K]``, or ``[n, 2, K]`` of a pair of networks."""
    if chosen.networks == 1:
        return predict_probabilities(model, data.inputs, runtime).to(runtime.device)
    both = [predict_probabilities(model, data.inputs, runtime, which=i) for i in range(chosen.networks)]
    return torch.stack(both, 1).to(runtime.device)


def _predict(model: nn.Module, data: LabelledData, targets: Targets[Any], runtime: TorchRuntime, rows: Tensor) -> None:
    """Let the targets end with what the final weights say of some examples, such as those that were held out."""
    probabilities = predict_probabilities(model, data.inputs, runtime, rows=rows).to(runtime.device)
    if runtime.rank == 0:
        targets.write(rows.to(runtime.device), probabilities)
    targets.end_epoch()


def network_spec(settings: ResolvedSettings, data: LabelledData, method: Method | None = None) -> str:
    """Name the network that a run trains; a pair, where its method trains two side by side."""
    spec = choose_network(settings.network, len(data), tuple(data.inputs.shape[1:]), data.preprocess.only_scaled)
    return f"2*{spec}" if (method or method_of(settings)).networks == 2 else spec


def _network(data: LabelledData, settings: ResolvedSettings, chosen: Method) -> nn.Module:
    shape = tuple(data.inputs.shape[1:])
    spec = network_spec(settings, data, chosen)
    return build(spec, shape, data.num_classes, seed=settings.seed, stats=data.preprocess.stats)


def _optimizer(
    net: nn.Module, settings: ResolvedSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    peak = settings.lr
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=peak,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights: a third off the step of a small network on a CPU
    )
    rise = min(max(settings.lr_warmup, 2 / (steps + 1)), 1.0)  # at least one step up: torch divides by them
    # One step more than will be taken: the schedule is stepped after the last step too.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps + 1, pct_start=rise, cycle_momentum=False)
    return optimizer, schedule


def _average(network: nn.Module, decay: float) -> AveragedModel:
    """Begin a moving average of the weights and of what batch normalisation keeps; what counts is copied."""

    def renew(kept: Any, now: Any, steps: Tensor | int) -> None:
        if not kept[0].is_floating_point():
            torch._foreach_copy_(kept, now)
            return
        early = (1 + int(steps)) / (10 + int(steps))  # so that the first weights do not stay for long
        get_ema_multi_avg_fn(min(decay, early))(kept, now, steps)  # type: ignore[no-untyped-call]  # torch's

    return AveragedModel(network, multi_avg_fn=renew, use_buffers=True)


def _augment(
    settings: ResolvedSettings, data: LabelledData, runtime: TorchRuntime
) -> Callable[[Batch, int, int, int], Tensor]:
    shape = tuple(data.inputs.shape[1:])
    fill = data.preprocess.stats[0] if data.preprocess.stats else ()
    spec = augment_for(choose_augment(settings, len(data), shape), shape, fill)
    if spec is None:
        return lambda batch, epoch, step, view: batch.inputs

    def apply(batch: Batch, epoch: int, step: int, view: int) -> Tensor:
        generator = torch_generator(settings.seed, "augment", epoch, step, *([view] if view else []))
        return spec(batch.inputs, generator, rank=runtime.rank, world=runtime.world, total=batch.total)

    return apply


def _evaluator(
    model: nn.Module,
    data: LabelledData,
    held: Tensor,
    evaluations: Mapping[str, tuple[Tensor, Tensor]],
    runtime: TorchRuntime,
) -> Callable[[], dict[str, float]]:
    """Measure accuracy on what was given for that, and on the examples that are held out."""
    sets: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {name: (*one, None) for name, one in evaluations.items()}
    sets |= {"held_out": (data.inputs, data.labels[held], held)} if len(held) else {}

    def accuracy(inputs: Tensor, labels: Tensor, rows: Tensor | None) -> float:
        predicted = predict_probabilities(model, inputs, runtime, rows=rows).argmax(-1)
        return (predicted == labels).float().mean().item()

    return lambda: {f"{name}_accuracy": accuracy(*one) for name, one in sets.items()}
