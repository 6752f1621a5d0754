"""A run directory: made once, filled as training goes, finished or resumed; never half, never overwritten."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from torch import Tensor, nn

from selfdistill._core.advice import COMMAND_LINE, Advice, Flag
from selfdistill._core.dist import barrier, rank
from selfdistill._core.errors import DataError, Interrupted, ResourceError, RunError, SelfdistillError, SettingError
from selfdistill._core.events import BatchDone, Event, Listener, everyone
from selfdistill._core.files import check_room, digest
from selfdistill._core.folder import check_folder, clear_parts, is_part
from selfdistill._core.lock import LOCK, check_held, is_held, locked, name_run
from selfdistill._core.memory import translate_out_of_memory
from selfdistill._core.record import environment, read_record, relative_paths, write_record
from selfdistill._core.run_record import SCHEMA, RunRecord
from selfdistill._core.settings import ResolvedSettings
from selfdistill._core.wording import as_many, quoted
from selfdistill.data._labelled import LabelledData
from selfdistill.data._loader import augment_for
from selfdistill.issues import compare_with_truth
from selfdistill.issues._northcutt2021joint import NoiseEstimate
from selfdistill.issues._table import LabelTable
from selfdistill.networks._build import build
from selfdistill.rivals import Method
from selfdistill.runs._label_table import write_label_table
from selfdistill.runs._model_file import Model, save_model, save_snapshot, snapshot_epochs
from selfdistill.runs._run_files import MetricsFile, clear_failed, has_failed, lost, other_versions, products, telling
from selfdistill.targets._stores import choose_store, compact
from selfdistill.train._closed import CLOSED, describe_closed
from selfdistill.train._fit import LESS_MEMORY, fit, network_spec
from selfdistill.train._fitted import Fitted, trust_of
from selfdistill.train._methods import METHODS, method_of

_MATRIX_CLASSES = 64  # up to here the record holds the whole matrix
_FREE = ("device", "compile")  # settings that a resumed run may change
GO_ON = "Go on with: selfdistill fit --resume {}"


@dataclass(frozen=True)
class Plan:
    """What a run does besides what its settings say, such as learning from a teacher."""

    record: Mapping[str, Any]  # joins the run record from the start
    # called with the run directory, ours by then, before training, and again when a run is resumed: gives the method,
    # of one network, and what else joins the record; under `files` digests of what it wrote
    prepare: Callable[[Path], tuple[Method, Mapping[str, Any]]]
    room: int = 0  # bytes that `prepare` writes at most
    go_on: str = GO_ON  # what to say after a stop; `{}` is the run directory


def next_run_folder(name: str, parent: Path = Path("runs")) -> Path:
    """Choose ``parent/name-001``, or the first number after the highest taken."""
    taken = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{name}-*")]
    return parent / f"{name}-{max([int(t) for t in taken if t.isdigit()], default=0) + 1:03d}"


def run(
    data: LabelledData,
    settings: ResolvedSettings,
    out: Path,
    *,
    source: Mapping[str, Any],
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    resume: bool = False,
    tell: Listener = lambda event: None,
    plan: Plan | None = None,
) -> RunRecord:
    """Train and fill a run directory, or go on with one; give the record as written to ``run.json``."""
    # `source` describes where the data came from, JSON-able, and is kept in the record. `evaluations` holds inputs and
    # true labels by name, measured after each epoch. With a `plan` the method is the plan's, and settings.method only
    # its name.
    spec, parameters = _network(data, settings, plan)
    record = _opening(data, settings, source, spec, plan.record if plan else {})
    if resume and (found := _enter(out, record, resume)).status == "finished":
        return found
    room = None if resume else _room(parameters, data, settings) + (plan.room if plan else 0)
    go_on = (plan.go_on if plan else GO_ON).format(quoted(out) + as_many())
    with _own(out, room):
        record = _enter(out, record, resume)
        name_run(out, record.id)
        if record.status == "finished":
            return record
        tell = telling(record, tell)
        started = _Started(resume or plan is not None)
        try:
            with translate_out_of_memory(LESS_MEMORY):
                return _train(data, settings, out, record, evaluations, everyone(started, tell), plan, go_on)
        except KeyboardInterrupt:
            raise Interrupted(*_stopped(out, started.value, go_on)) from None
        except (DataError, SettingError):
            if not started.value:  # a noise matrix that does not fit, for instance: nothing was trained
                _remove(out)
            raise
        except ResourceError as error:
            if not started.value:
                _remove(out)
                raise
            raise ResourceError(error.problem, error.hint + f" {go_on}") from error


def _network(data: LabelledData, settings: ResolvedSettings, plan: Plan | None) -> tuple[str, int]:
    """Name the network and count its parameters, having refused what cannot be built or used."""
    shape = tuple(data.inputs.shape[1:])
    if settings.method == CLOSED and plan is None:
        return CLOSED, (settings.landmarks or 1500) * (math.prod(shape) + 5 * data.num_classes)
    spec = network_spec(settings, data, METHODS["cross-entropy"] if plan else None)
    with translate_out_of_memory(LESS_MEMORY):
        network = build(spec, shape, data.num_classes, seed=settings.seed, stats=data.preprocess.stats)
    augment_for(settings.augment, shape)
    if plan is None:
        method_of(settings)
    return spec, sum(p.numel() for p in network.parameters())


def _train(
    data: LabelledData,
    settings: ResolvedSettings,
    out: Path,
    record: RunRecord,
    evaluations: Mapping[str, tuple[Tensor, Tensor]] | None,
    tell: Listener,
    plan: Plan | None,
    go_on: str,
) -> RunRecord:
    """Train, and fill the directory that is there and ours."""
    metrics = MetricsFile(out / "metrics.jsonl") if rank() == 0 else (lambda event: None)
    kept_epochs, method = snapshot_epochs(settings.keep_epochs, settings.epochs), None
    settings_of = {name: value for name, value in record.settings.as_dict().items() if name not in _FREE}
    about = relative_paths({"id": record.id, "settings": settings_of}, out)
    try:
        if plan is not None:
            method, found = plan.prepare(out)
            files = record.files | found.get("files", {})
            record = _write(out, record.updated(status="running", **dict(found) | {"files": files}))
        files = dict(record.files)
        fitted = fit(
            data,
            settings,
            evaluations=evaluations,
            tell=everyone(metrics, tell),
            checkpoints=out / "checkpoint",
            go_on=go_on,
            method=method,
            epoch_done=lambda epoch, model: _keep_epoch(out, epoch, model, kept_epochs, record, files),
            about=about,
        )
    except Interrupted:
        _write(out, record.updated(status="interrupted"))
        raise
    except SettingError as error:  # the loss is no number: going on would not help
        _write(out, record.updated(status="failed", error=error.at(COMMAND_LINE)))
        raise
    return _finish(data, fitted, out, record, files)


def _finish(data: LabelledData, fitted: Fitted, out: Path, record: RunRecord, files: Mapping[str, str]) -> RunRecord:
    """Write what was found; the record last."""
    kind, why = choose_store(len(data), data.num_classes, out)
    soft = compact(fitted.refined, data.labels, kind, out)
    table = fitted.table(soft)
    found: dict[str, Any] = {
        "status": "finished",
        "curves": {name: [epoch[name] for epoch in fitted.curves] for name in fitted.curves[0]},
        "warnings": [*record.warnings, *fitted.warnings],
        "result": _result(data, fitted, table) | {"soft_labels": soft.describe() | {"why": why}},
        "trust": trust_of(data, fitted, table).as_dict(data.classes),
    }
    spec = record.settings.network
    if fitted.closed is not None:
        spec = fitted.closed.machine.spec
        found["closed"] = describe_closed(fitted.closed, data.num_classes)
        found["settings"] = replace(record.settings, network=spec)
    if rank() == 0:
        write_label_table(out / "labels.parquet", data, table)
        shape = tuple(data.inputs.shape[1:])
        save_model(out / "model.safetensors", Model(fitted.model, data.preprocess, data.classes, spec, shape))
        found["files"] = dict(files) | products(out)
    try:
        return _write(out, record.updated(**found))
    except ValueError as error:  # curves of a checkpoint that is not ours
        if isinstance(error, SelfdistillError):
            raise
        raise RunError(f"{out} cannot be finished: {error}", Advice("Start a new run with another {--out}.")) from error


def _keep_epoch(
    out: Path, epoch: int, model: nn.Module, kept_epochs: frozenset[int], record: RunRecord, files: dict[str, str]
) -> None:
    """Keep the weights, and their digest in the record: what is damaged from now on is found."""
    if epoch in kept_epochs and rank() == 0:
        path = save_snapshot(out, epoch, model)
        files[path.relative_to(out).as_posix()] = digest(path)
        write_record(out, record.updated(files=files))


class _Started:
    """Whether a step was taken, now or before the run was resumed."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __call__(self, event: Event) -> None:
        self.value = self.value or isinstance(event, BatchDone)


def _stopped(out: Path, started: bool, go_on: str) -> tuple[str, str]:
    """Say what a Ctrl-C left that stopped at once, and how to go on; before the first step nothing shall be left."""
    if started:
        return "stopped at once; what was saved before is kept", go_on
    _remove(out)
    return "stopped before the first step; nothing was saved", "Start again."


def _remove(out: Path) -> None:
    """Take away a run that took no step."""
    if rank() == 0 and is_held(out):
        for path in (out / "run.json", out / "metrics.jsonl", out / LOCK):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files lie there by now
            out.rmdir()


def _write(out: Path, record: RunRecord) -> RunRecord:
    if rank() == 0:
        write_record(out, record)
    barrier()
    found = read_record(out)
    if found.id != record.id:
        raise RunError(f"{out} was taken by another run", Advice("Start again with another {--out}."))
    return found


def _opening(
    data: LabelledData, settings: ResolvedSettings, source: Mapping[str, Any], spec: str, more: Mapping[str, Any]
) -> RunRecord:
    counts = np.bincount(data.labels.numpy(), minlength=data.num_classes)
    found = {
        "schema": SCHEMA,
        "status": "running",
        "id": uuid4().hex,
        "settings": settings.as_dict() | {"network": spec},
        "data": dict(source)
        | {
            "examples": len(data),
            "classes": list(data.classes),
            "given_counts": counts.tolist(),
            "input_shape": list(data.inputs.shape[1:]),
            "fingerprint": data.fingerprint,
            "counts": data.counts,
        },
        "noise": _realised_noise(data),
        "warnings": list(data.warnings),
        "notes": list(data.notes),
    }
    return RunRecord.from_json(found | environment(settings.device) | dict(more))


def _realised_noise(data: LabelledData) -> dict[str, Any] | None:
    if data.truth is None:
        return None
    truth, given = data.truth.numpy(), data.labels.numpy()
    known, k = truth >= 0, data.num_classes
    joint = np.zeros((k, k), np.int64)
    np.add.at(joint, (truth[known], given[known]), 1)
    rate = float((truth != given)[known].mean()) if known.any() else None
    return {"rate": rate, "joint_true_given": joint.tolist()}


def _room(parameters: int, data: LabelledData, settings: ResolvedSettings) -> int:
    """Bytes that a run writes at most: three checkpoints at a time, models, the labels and a map of them, 16 MiB."""
    n, k = len(data), data.num_classes
    checkpoint = 8 * parameters + n * (22 * k + 48)  # weights and momentum; the default's memories, the dynamics
    models = 1 + len(snapshot_epochs(settings.keep_epochs, settings.epochs))
    return 3 * checkpoint + 4 * models * parameters + n * (8 * k + 64) + 2**24


@contextmanager
def _own(out: Path, room: int | None) -> Generator[None]:
    """Make the directory of a new run, which takes some room, and let no other process write to it meanwhile."""
    barrier()
    if rank() == 0 and room is not None:
        check_free(out)
        check_room(out, room)
        out.mkdir(parents=True, exist_ok=True)
    with locked(out) if rank() == 0 else nullcontext():
        if rank() == 0:
            check_folder(out)
            clear_parts(out)
            if room is not None:
                clear_failed(out)
        try:
            yield
        except FileNotFoundError:
            check_held(out / LOCK)  # says so where the folder was taken away
            raise


def _enter(out: Path, record: RunRecord, resume: bool) -> RunRecord:
    """Write the record, or check that the run in the directory is this one."""
    if resume:
        found = read_record(out).check_not_failed(out)
        _check_same(out, found, record)
        done = found.status == "finished" and not lost(out, found)
        return found if done else other_versions(found.updated(status="running"), record)
    if rank() == 0:
        check_free(out)  # again: another process may have been faster
        write_record(out, record)
    barrier()
    return read_record(out)


def check_free(out: Path) -> None:
    """Refuse a folder that holds anything but a run that failed, and a name that is not UTF-8."""
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise RunError(f"{out} is not UTF-8, as safetensors needs it", Advice("Choose another {--out}.")) from None
    if out.is_dir() and has_failed(out):
        return
    if out.exists() and (not out.is_dir() or any(item.name != LOCK and not is_part(item) for item in out.iterdir())):
        if not (out / "run.json").exists():
            held = "already holds files" if out.is_dir() else "is a file"
            raise RunError(f"{out} {held}", Advice("Choose another {--out}."))
        raise RunError(
            f"{out} already holds a run",
            Advice(
                "Choose another {--out}", "go on with a stopped run: selfdistill fit --resume {run}", run=quoted(out)
            ),
        )


def _check_same(out: Path, found: RunRecord, asked: RunRecord) -> None:
    free = (*_FREE, "network") if asked.settings.method == CLOSED else _FREE
    for name, value in asked.settings.as_dict().items():
        before = getattr(found.settings, name)
        if name not in free and before != value:
            raise RunError(
                f"{out} was started with {name} = {before!r}, but now it is {value!r}",
                Advice("Leave {option} out to go on", "start a new run with another {--out}.", option=Flag(name)),
            )
    if found.data.fingerprint != asked.data.fingerprint:
        facts = [f"{r.data.examples} examples, {r.data.fingerprint[:12]}" for r in (found, asked)]
        raise RunError(
            f"{out} was trained on other data ({facts[0]}; now {facts[1]})",
            Advice("Resume with the same file", "start a new run with another {--out}."),
        )


def _result(data: LabelledData, fitted: Fitted, table: LabelTable) -> dict[str, Any]:
    pairs = np.stack([table.given, table.refined], 1)[table.is_issue & (table.given != table.refined)]
    unique, counts = np.unique(pairs, axis=0, return_counts=True) if len(pairs) else (pairs, np.zeros(0, int))
    order = np.argsort(-counts, kind="stable")[:10]
    last = fitted.curves[-1]
    result: dict[str, Any] = {
        "label_issues": int(table.is_issue.sum()),
        "confused": [[data.classes[unique[i][0]], data.classes[unique[i][1]], int(counts[i])] for i in order],
        "no_better_label": int((table.is_issue & (table.given == table.refined)).sum()),
        "most_doubtful": table.most_doubtful,
        "never_refined_to": [c for i, c in enumerate(data.classes) if not (table.refined == i).any()],
        "estimated_noise": _estimated_noise(data.classes, table.noise),
        "agreement": last["agreement"],
        "seconds": sum(epoch["seconds"] for epoch in fitted.curves),
    }
    if fitted.kept_epoch is not None:
        result["kept_epoch"] = fitted.kept_epoch
    for name in last:
        if name.endswith("_accuracy"):
            curve = [epoch[name] for epoch in fitted.curves]
            result[name] = {"last": curve[-1], "best": max(curve), "best_epoch": int(np.argmax(curve))}
    if data.truth is not None:
        result["truth"] = compare_with_truth(table, data.truth.numpy())
    return result


def _estimated_noise(classes: Sequence[str], noise: NoiseEstimate) -> dict[str, Any]:
    """Put what the labels' noise looks like into the record; more than 64 classes would swell it."""
    return {
        "expected_wrong": noise.wrong,
        "health": noise.health,
        "counts_true_given": noise.counts.round(2).tolist() if len(classes) <= _MATRIX_CLASSES else None,
        "unseen": [classes[i] for i in noise.unseen],
        "overlap": [[classes[a], classes[b], round(count, 2)] for a, b, count in noise.overlap(10) if count >= 0.5],
    }
