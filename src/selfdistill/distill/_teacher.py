"""Who teaches: a run, one of its checkpoints, any network, soft labels that are there already, or several of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, RunError, SettingError, one_line
from selfdistill._core.files import check_name
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_finished
from selfdistill._core.run_record import RunRecord
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read_new
from selfdistill.distill._candidates import Choice, air_epoch, choose
from selfdistill.distill._soft_labels import (
    About,
    FunctionNetwork,
    Store,
    load_store,
    logits_of,
    of_classifier,
    of_numbers,
)
from selfdistill.runs._model_file import EPOCHS, Model, load_model, load_snapshot
from selfdistill.targets._teacher import SoftLogits, choose_entries
from selfdistill.train._checkpoint import load_checkpoint
from selfdistill.train._runtime import TorchRuntime

_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network that can label the data."""

    network: nn.Module  # in evaluation mode
    inputs: Tensor  # the examples as it takes them, in the data's order
    described: Mapping[str, Any]  # for records: ``name``, ``kind``, and of a run ``epoch``, ``network`` and ``method``
    choice: Choice | None = None  # how its epoch was chosen, where there was a choice


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Several teachers, whose distributions are averaged."""

    members: tuple[AnyTeacher, ...]

    @property
    def described(self) -> Mapping[str, Any]:
        """Who it is, for records."""
        members = [dict(one.about.teacher if isinstance(one, Store) else one.described) for one in self.members]
        name = " + ".join(str(one["name"]) for one in members)
        return {"name": name, "kind": "ensemble", "members": members}


AnyTeacher = Teacher | Store | Ensemble


def run_of(path: Path) -> Path | None:
    """Find the run that a file of weights belongs to: its model, or a file in its epochs or checkpoint."""
    run = path.parent if path.name == "model.safetensors" else path.parent.parent
    inside = path.name == "model.safetensors" or path.parent.name in {EPOCHS, "checkpoint"}
    return run if inside and path.is_file() and (run / "run.json").is_file() else None


def find_teacher(
    given: object,
    data: LabelledData,
    *,
    way: str | None = None,
    usual: str | None = None,
    source: str | None = None,
    read: Mapping[str, Any] | None = None,
) -> AnyTeacher:
    """Turn what was given into somebody who can teach these data, and refuse who cannot.

    Args:
        given: A run directory, a file of its weights, a file of soft labels, soft labels; a network or a function with
            logits ``[b, K]`` in the order of the data's classes; logits or probabilities ``[n, K]``, or an npy
            file of them; a classifier of scikit-learn; or a list of these, whose distributions are averaged.
        data: The student's data.
        way: How a run's epoch is chosen, see `choose`; refused where there is nothing to choose from.
        usual: The same, where there is a choice and ``way`` is ``None``.
        source: Where the data were read from: a run that was trained on others reads them in its own way.
        read: Fields of `ReadOptions` that they were read with.

    Returns:
        A teacher, soft labels, or several.

    Raises:
        DataError: Other classes, shapes or examples, or a damaged file.
        RunError: Not a finished run, or one that cannot be chosen from in this way.
        SettingError: Nothing that can teach, or a way of choosing where there is nothing to choose from.
    """  # noqa: DOC502 (raised by what is called)
    if isinstance(given, list | tuple) and given and not _numbers(given):
        return Ensemble(tuple(find_teacher(one, data, way=way, usual=usual, source=source, read=read) for one in given))
    if isinstance(given, str | Path):
        check_name(given)
        path = Path(given)
        if not path.is_file():
            return _of_run(path, data, way or usual, source, read or {})
        if run_of(path) is not None:
            _nothing_to_choose(way, f"the checkpoint {path}")
            return _of_run(path, data, way, source, read or {})
        given = of_numbers(_read_npy(path), data, str(path)) if path.suffix == ".npy" else load_store(path)
    teacher = _in_memory(given, data)
    what = f"soft labels of {teacher.about.teacher['name']}" if isinstance(teacher, Store) else "a network"
    _nothing_to_choose(way, what)
    return teacher


def _in_memory(given: Any, data: LabelledData) -> Teacher | Store:
    """Take what is no path."""
    if isinstance(given, Store):
        given.check(data)
        return given
    name = type(given).__name__
    if isinstance(given, nn.Module):
        return _module(given, name, data)
    if isinstance(given, type):
        raise SettingError(
            f"the teacher is the class {given.__name__}", f"Give one of its kind: {given.__name__}(...)."
        )
    if hasattr(given, "predict_proba"):
        return of_classifier(given, data)
    if isinstance(given, Mapping) and "logits" in given:  # what a network of transformers gives
        return of_numbers(given["logits"], data, name)
    if hasattr(given, "__array__") or isinstance(given, list | tuple):
        return of_numbers(given, data, name)
    if callable(given):
        called = FunctionNetwork(given)
        return _module(called, called.name, data)
    raise SettingError(
        f"the teacher is {given!r:.60}, which cannot teach",
        "Give a run, a network, a function, a classifier, or logits [n, K].",
    )


def _read_npy(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not an array of numbers: {one_line(error)}", "Write it with numpy.save.") from error
    return found


def _numbers(given: Sequence[Any]) -> bool:
    """Tell rows of numbers from a list of teachers."""
    first = given[0]
    return isinstance(first, int | float) or (isinstance(first, list | tuple) and bool(first) and _numbers(first))


def _nothing_to_choose(way: str | None, what: str) -> None:
    if way not in {None, "last"}:
        raise SettingError(
            f"choose {way} needs several epochs to choose from, but {what} is one candidate",
            Advice("Leave {--choose} out", "give a run."),
            param="choose",
        )


def _module(network: nn.Module, name: str, data: LabelledData) -> Teacher:
    teacher = Teacher(network.eval(), data.inputs, {"name": name, "kind": "network"})
    _logits(teacher, data.inputs[:2], data.num_classes, torch.device("cpu"))
    return teacher


def _of_run(path: Path, data: LabelledData, way: str | None, source: str | None, read: Mapping[str, Any]) -> Teacher:
    run = run_of(path) if path.is_file() else path
    assert run is not None  # a file was found to lie in a run
    record = read_finished(run)
    model = load_model(run / "model.safetensors")
    if model.spec != record.settings.network:
        raise RunError(f"{run} holds a {model.spec}, but its record names another network", "Train it again.")
    inputs = _inputs_for(run, model, record, data, source, read)
    described = {"name": str(path), "network": model.spec, "method": record.settings.method}
    if path.is_file():
        network = _with_weights(model, path)
        return Teacher(network, inputs, described | {"kind": "checkpoint"})
    own = record.data.fingerprint == data.fingerprint
    air = partial(air_epoch, record, data) if own else partial(_no_air, run)
    choice = choose(run, record, way, air)
    network = _with_weights(model, choice.candidate.path)
    epoch = None if record.closed is not None else choice.candidate.epoch  # a closed form has none
    return Teacher(network, inputs, described | {"kind": "run", "epoch": epoch}, choice)


def _no_air(run: Path) -> dict[str, float | None]:
    raise RunError(
        f"{run} was trained on other data, so its kernel cannot be computed on these",
        Advice("Choose another {--choose}."),
    )


def _with_weights(model: Model, path: Path) -> nn.Module:
    if path.parent.name == EPOCHS:
        return load_snapshot(path, model.network)
    if path.name == "model.safetensors":
        return model.network.eval()
    return load_checkpoint(path, model.network)


def _inputs_for(
    run: Path, model: Model, record: RunRecord, data: LabelledData, source: str | None, read: Mapping[str, Any]
) -> Tensor:
    """Give the examples as the teacher takes them: it may have been trained on others of the same kind."""
    theirs, ours = record.data.fingerprint, data.fingerprint
    if theirs == ours:
        return data.inputs
    if model.classes != data.classes:
        odd = sorted(set(model.classes) ^ set(data.classes))
        raise DataError(
            f"{run} has {len(model.classes)} classes, but the data {data.num_classes}; only one of them has "
            f"{', '.join(map(repr, odd[:6]))}",
            "Give data with the classes of the teacher, or another teacher.",
        )
    shape = tuple(data.inputs.shape[1:])
    if len(shape) == 3 and shape == model.input_shape:
        return data.inputs
    if source is None or len(shape) == 3:
        raise DataError(
            f"{run} was trained on {record.data.examples:,} examples of shape {list(model.input_shape)} "
            f"(fingerprint {theirs[:12]}), but the data are {len(data):,} of shape {list(shape)} ({ours[:12]})",
            "Give the data of the teacher, or those of its kind by their file.",
        )
    ignore = (*read.get("ignore", ()), *([read["truth"]] if read.get("truth") else []))
    new = read_new(
        source,
        model.preprocess,
        model.classes,
        ReadOptions(ignore=ignore, inputs=read.get("inputs")),
        usual_encoding=read.get("encoding"),
    )
    if len(new.ids) != len(data):
        raise DataError(
            f"{run} reads {len(new.ids):,} examples in {source}, the student {len(data):,}",
            "Fill in or take out what only one of them can read.",
        )
    return new.inputs


@torch.no_grad()
def _logits(teacher: Teacher, inputs: Tensor, classes: int, device: torch.device) -> Tensor:
    name = teacher.described["name"]
    try:
        given = teacher.network(inputs.to(device))
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} cannot take inputs of shape {list(inputs.shape[1:])}, {inputs.dtype}: {one_line(error)}",
            "Give a teacher for these data; it gets them as they are read, images as 0 to 255.",
        ) from error
    logits = logits_of(given, name)
    if logits.ndim != 2 or logits.shape != (len(inputs), classes):
        raise DataError(
            f"{name} gives outputs of shape {list(logits.shape)} for {len(inputs)} examples of {classes} classes",
            f"Give a teacher whose logits are [b, {classes}], in the order of the classes.",
        )
    if not bool(logits.isfinite().all()):
        raise DataError(f"{name} gives logits that are not finite", "Look at its weights.")
    return logits.float().cpu()


def soft_labels(
    teacher: AnyTeacher,
    data: LabelledData,
    runtime: TorchRuntime,
    *,
    entries: int | None = None,
    source: Mapping[str, Any] | None = None,
) -> Store:
    """Ask the teacher once about every example, in evaluation mode and float32.

    Cost: one forward pass for each example.

    Args:
        teacher: Who is asked.
        data: The examples.
        runtime: Where.
        entries: Logits kept per row; ``None``: all, or 10 where they would take more than 1 GiB.
        source: Where the data came from, kept with the labels.

    Returns:
        The soft labels; of several teachers the mean of their distributions, as logits.

    Raises:
        DataError: The teacher does not fit the data.
    """  # noqa: DOC502
    if isinstance(teacher, Store):
        return teacher
    if isinstance(teacher, Teacher):
        teacher.network.to(runtime.device).eval()
    members = teacher.members if isinstance(teacher, Ensemble) else ()
    stores = [soft_labels(one, data, runtime, entries=entries) for one in members]
    n, k = len(data), data.num_classes
    soft = SoftLogits(n, k, k=choose_entries(n, k) if entries is None or entries >= k else entries)
    for start in range(0, n, _BATCH):
        rows = slice(start, min(start + _BATCH, n))
        if isinstance(teacher, Ensemble):
            index = torch.arange(rows.start, rows.stop)
            soft.write(rows, torch.stack([one.soft.probabilities(index) for one in stores]).mean(0).log())
        else:
            soft.write(rows, _logits(teacher, teacher.inputs[rows], k, runtime.device))
    return Store(soft, About(dict(teacher.described), data.classes, data.fingerprint, n, dict(source or {})))
