"""From what a user typed to a finished student: find the teacher's data, read, check, teach, or go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError, SettingError
from selfdistill._core.events import Listener, everyone
from selfdistill._core.options import explicit_options, options_from, overlaid
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_record, reading_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.wording import quoted
from selfdistill.distill._distiller import Distiller
from selfdistill.distill._objective import OBJECTIVES
from selfdistill.distill._soft_labels import load_store
from selfdistill.distill._teacher import run_of
from selfdistill.runs._directory import check_free, next_run_folder
from selfdistill.runs._encoding import check_named
from selfdistill.runs._request import FitRequest, announce_run, name_of, read_sources, threads_of
from selfdistill.train import Settings
from selfdistill.train._runtime import process_group
from selfdistill.train._settings import choose_network, resolve_device


@dataclass(frozen=True)
class DistillRequest:
    """What was asked of a student; what was not set is chosen, or comes from the record of the run that goes on."""

    teacher: str | None = None  # a run directory, a file of its weights, of soft labels, or an npy file of logits
    source: str | None = None  # the student's data as typed; ``None``: those that the teacher was trained on
    test: str | None = None  # a file with labels to measure on after each epoch
    read: ReadOptions = field(default_factory=ReadOptions)
    settings: Settings = field(default_factory=Settings)  # how the student trains
    distiller: Mapping[str, Any] = field(default_factory=dict)  # fields of `Distiller`
    store: Path | None = None  # where soft labels go
    also: Sequence[str] = ()  # further teachers
    out: Path | None = None  # the run directory; default: the next free ``runs/<name>-student-NNN``
    resume: Path | None = None  # a run directory to go on with


def start(
    request: DistillRequest, *, tell: Listener = lambda event: None, say: Callable[[str], None] = lambda text: None
) -> tuple[RunRecord, Path]:
    """Read, check, and teach or go on."""
    request, seed = _completed(request)
    distiller = Distiller(**request.distiller, settings=request.settings)
    device = resolve_device(distiller.settings.device or "auto")
    distiller.settings.resolve(1000, device)  # refuses what is out of range before anything is read
    if request.out is not None and request.resume is None:
        check_free(request.out)
    with process_group(device):
        source = {"source": request.source, "read": explicit_options(request.read), "test": request.test}
        examples, tests = read_sources(FitRequest(request.source, request.test, request.read), seed, say)
        out = request.resume or request.out or next_run_folder(f"{name_of(request.source)}-student")
        announce = announce_run(examples, out, say)
        with threads_of(examples, distiller.resolved(examples)):
            record = distiller.teach(
                [request.teacher, *request.also] if request.also else request.teacher,
                examples,
                out,
                source=source | {"seed": seed},
                store=request.store,
                evaluations=tests,
                resume=request.resume is not None,
                tell=everyone(announce, tell),
                say=say,
            )
    return record, out


def _completed(request: DistillRequest) -> tuple[DistillRequest, int]:
    """Fill in what was left out: from the record of the run that goes on, or the teacher's data; and their seed."""
    if request.resume is not None:
        with reading_record(request.resume):
            return _resumed(request, request.resume)
    if request.teacher is None:
        raise SettingError(
            "no teacher was named", "Name a run, a checkpoint or soft labels: selfdistill distill TEACHER [DATA]."
        )
    described = _data_of(Path(request.teacher))  # refuses what cannot teach before the data are read
    if request.source is not None:
        return request, request.settings.seed or 0
    if "read" not in described:
        raise SettingError(
            f"{request.teacher} does not say where its data lie",
            f"Name them: selfdistill distill {quoted(request.teacher)} DATA.",
        )
    theirs = options_from(ReadOptions, described["read"])
    check_named(Path(request.teacher), theirs, request.read)
    read = overlaid(theirs, request.read)
    test = request.test or described.get("test")
    return replace(request, source=described.get("source"), test=test, read=read), int(described["seed"])


def _data_of(teacher: Path) -> Mapping[str, Any]:
    """Say where the teacher's own data came from, as far as it knows."""
    run = run_of(teacher) if teacher.is_file() else teacher
    if run is None:
        return {} if teacher.suffix == ".npy" else load_store(teacher).about.source
    record = read_record(run)
    found: dict[str, Any] = {"seed": record.settings.seed} | record.as_json()["data"]
    return found


def _resumed(request: DistillRequest, run: Path) -> tuple[DistillRequest, int]:
    record = read_record(run)
    if record.distillation is None or record.distillation.asked is None:
        raise RunError(f"{run} has no teacher", f"Go on with: selfdistill fit --resume {quoted(run)}")
    if request.out is not None and request.out != run:
        problem = f"out {request.out} is not the run to go on with, {run}"
        raise RunError(problem, Advice("Leave {--out} out."), param="out")
    described, began = record.data, record.distillation.asked.model_dump(exclude_unset=True)
    if not isinstance(began.get("objective"), str) or began["objective"] not in OBJECTIVES:
        raise RunError(f"{run} learns from a custom objective", "Resume it from the code that started it.")
    places = {name: began.pop(name, None) for name in ("teacher", "also", "store")}
    known = {one.name for one in fields(Settings)} - {"method", "network"}
    settings = {name: value for name, value in record.settings.as_dict().items() if name in known}
    began["student"] = record.settings.network
    explicit = dict(request.distiller)
    if "student" in explicit:
        shape, n = tuple(described.input_shape), described.examples
        if began["student"] in {choose_network(explicit["student"], n, shape, words) for words in (False, True)}:
            del explicit["student"]
    now = {"store": None if request.store is None else str(request.store)} | explicit
    now |= {"teacher": request.teacher, "also": list(request.also) or None}
    for name, value in now.items():
        before = (places | began)[name]
        if value is not None and value != before:
            raise RunError(
                f"{run} was started with {name} = {before!r}, but now it is {value!r}",
                Advice("Leave it out to go on", "start a new run with another {--out}."),
            )
    _check_place(run, places["store"], request.store)
    check_named(run, described.read, request.read)
    order = DistillRequest(
        places["teacher"],
        request.source if request.source is not None else described.source,
        request.test if request.test is not None else described.test,
        overlaid(described.read or ReadOptions(), request.read),
        overlaid(Settings(**settings), request.settings),
        began,
        None if places["store"] is None else Path(places["store"]),
        tuple(places["also"] or ()),
        resume=run,
    )
    return order, described.seed or 0


def _check_place(run: Path, store: str | None, explicit: Path | None) -> None:
    """Refuse to write outside a run, which may come from elsewhere, where only its record names the file."""
    if store is None or explicit is not None or Path(store).exists():
        return
    if not Path(store).resolve().is_relative_to(run.resolve()):
        raise RunError(
            f"{run} would write its soft labels to {store}, outside of itself",
            f"If you want that, name the file: selfdistill distill --resume {quoted(run)} --store {quoted(store)}",
        )
