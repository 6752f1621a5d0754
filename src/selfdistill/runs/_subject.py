"""What is looked at to see what was learned first: a run with its networks, or data with a network as initialised."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.folder import inside
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished
from selfdistill._core.run_record import RunRecord
from selfdistill.air import calibrated
from selfdistill.air._clock import Clock
from selfdistill.air._study import RunCurves
from selfdistill.data._labelled import LabelledData
from selfdistill.data._labels import encode
from selfdistill.data._read import read as data_read
from selfdistill.networks._build import build, resolve
from selfdistill.runs._demo import noisy_digits
from selfdistill.runs._encoding import check_named
from selfdistill.runs._label_table import label_columns
from selfdistill.runs._model_file import load_model
from selfdistill.train._checkpoint import checkpoint_steps, load_checkpoint


@dataclass(frozen=True, eq=False)
class Subject:
    """What is looked at."""

    name: str  # of the run or the data
    data: LabelledData  # all examples, with given labels
    clean: Tensor | None  # true or refined labels, int64 `[n]`, -1 where not known; `None` where there are none
    clean_is: str | None  # "truth", "refined", or `None`
    spec: str  # the network's specification
    # for each moment, in order, what makes the network from examples to calibrate it on
    moments: Mapping[str, Callable[[Tensor], nn.Module]]
    epochs: Mapping[str, int] = field(default_factory=dict)  # epochs done at each moment
    measured: RunCurves | None = None  # the run's curves


def of_data(source: str, network: str | None, read: ReadOptions, seed: int) -> Subject:
    """Read labelled data and build a network for them: one moment, the initial network."""
    examples = data_read(source, read)
    shape = tuple(examples.inputs.shape[1:])
    spec = resolve(network or "auto", shape)
    known = examples.truth is not None and bool((examples.truth >= 0).any())
    return Subject(
        name=Path(source).name.split(".")[0] or "data",
        data=examples,
        clean=examples.truth if known else None,
        clean_is="truth" if known else None,
        spec=spec,
        moments={"initial": _initial(spec, examples, seed)},
        epochs={"initial": 0},
    )


def of_run(folder: Path) -> Subject:
    """Take a finished run: its data, read again, its networks and its curves."""
    # Moments are the initial network, what checkpoints there are before the end, and the trained one.
    record = read_finished(folder)
    model, settings = load_model(folder / "model.safetensors"), record.settings
    model.network.requires_grad_(True)  # the kernel is that of the parameters that train
    examples = read_again(folder, record)
    truth = examples.truth
    known = truth is not None and bool((truth >= 0).any())
    steps = math.ceil(len(examples) / settings.batch_size)
    moments: dict[str, Callable[[Tensor], nn.Module]] = {"initial": _initial(model.spec, examples, settings.seed)}
    epochs = {"initial": 0}
    for done, path in checkpoint_steps(inside(folder, "checkpoint")).items():
        if done < steps * settings.epochs:
            name = f"epoch {done / steps:.3g}"
            moments[name], epochs[name] = _stored(model.network, path), done // steps
    moments["trained"], epochs["trained"] = (lambda inputs: model.network), settings.epochs
    return Subject(
        name=folder.name,
        data=examples,
        clean=truth if known else _refined(folder, examples),
        clean_is="truth" if known else "refined",
        spec=model.spec,
        moments=moments,
        epochs=epochs,
        measured=_measured(record, steps),
    )


def _initial(spec: str, examples: LabelledData, seed: int) -> Callable[[Tensor], nn.Module]:
    shape, stats = tuple(examples.inputs.shape[1:]), examples.preprocess.stats
    network = build(spec, shape, examples.num_classes, seed=seed, stats=stats)
    return lambda inputs: calibrated(network, inputs)


def _stored(network: nn.Module, path: Path) -> Callable[[Tensor], nn.Module]:
    def load(inputs: Tensor) -> nn.Module:
        return load_checkpoint(path, copy.deepcopy(network))

    return load


def read_again(folder: Path, record: RunRecord, *, mapped: bool = False) -> LabelledData:
    """Read the data of a finished run again, and check that they are the same."""
    described = record.data
    seed = (
        record.settings.seed if described.seed is None else described.seed
    )  # a student's data have the seed of its teacher
    if described.read is None:
        raise RunError(f"{folder} was not started by `selfdistill fit`", "Use selfdistill.air from your code.")
    check_named(folder, described.read)
    if described.source is None:
        examples, _ = noisy_digits(seed)
    else:
        examples = data_read(described.source, described.read, mapped=mapped)
    if examples.fingerprint != described.fingerprint:
        raise RunError(
            f"{described.source} holds other data than {folder} was trained on",
            "Put the data back as they were, or pass them directly: selfdistill air DATA.",
        )
    return examples


def _refined(folder: Path, examples: LabelledData) -> Tensor:
    return encode(label_columns(folder)["refined_label"].to_numpy(), examples.classes)


def _measured(record: RunRecord, steps: int) -> RunCurves:
    curves, settings = record.curves, record.settings
    others = {name: curve for name, curve in curves.items() if name.endswith("_accuracy")}
    clock = Clock.of_ends(curves["lr"], steps, settings.momentum)
    return RunCurves(clock, curves["agreement"], others, plain=settings.method == "cross-entropy")


def known_positions(subject: Subject) -> Tensor:
    """Positions of the examples that can be looked at: all, or those whose true label is known."""
    known = torch.arange(len(subject.data)) if subject.clean is None else (subject.clean >= 0).nonzero().flatten()
    if len(known) < 2:
        raise SettingError(f"{len(known)} example has a known true label", Advice("Leave {--truth} out."))
    return known
