"""From what a user typed to a finished run: read, check, train, and the demonstration where no data are named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.dist import rank
from selfdistill._core.errors import DataError, Interrupted, RunError, SettingError
from selfdistill._core.events import Event, Listener, RunStarted, everyone
from selfdistill._core.options import explicit_options, overlaid
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.record import read_record, write_record
from selfdistill._core.run_record import RunRecord
from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill._core.wording import as_many, quoted
from selfdistill.data._labelled import LabelledData, describe
from selfdistill.data._read import read as data_read
from selfdistill.data._read import read_test
from selfdistill.networks._build import build
from selfdistill.runs._decision_files import decided_array, numbered, read_decisions
from selfdistill.runs._decisions import labels_digest, read_header
from selfdistill.runs._demo import compare_with_plain, noisy_digits
from selfdistill.runs._directory import check_free, next_run_folder, run
from selfdistill.runs._encoding import (
    check_named,
    encoder_of_photos,
    encoder_of_texts,
    encoding,
    missing_extra,
    side_of_network,
)
from selfdistill.train._choice import choose_method
from selfdistill.train._closed import AUTO, CLOSED, OF_CLOSED, check_closed, closed_threads, takes_vectors
from selfdistill.train._methods import WITHOUT_EPOCHS, method_of
from selfdistill.train._runtime import process_group, threads_for
from selfdistill.train._settings import choose_network, resolve_device

_DIGITS = "digits"


@dataclass(frozen=True)
class FitRequest:
    """What was asked of a run; what was not set is chosen, or comes from the record of the run that goes on."""

    source: str | None = None  # the data as typed; `None`: the built-in digits, or those of the resumed run
    test: str | None = None  # a file with labels to measure on after each epoch
    read: ReadOptions = field(default_factory=ReadOptions)  # how to read it
    settings: Settings = field(default_factory=Settings)  # how to train
    out: Path | None = None  # the run directory; by default the next free `runs/<name>-NNN`
    resume: Path | None = None  # a run directory to go on with
    decisions: Path | None = None  # a file of labels that a person decided on; only the closed form holds them


def start(
    request: FitRequest,
    *,
    tell: Listener = lambda event: None,
    tell_plain: Listener = lambda event: None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[RunRecord, Path]:
    """Read, check, and train or go on; notes and warnings go to ``say`` as they come, with such a word in front."""
    request = _completed(request)
    wanted = overlaid(Settings(method=None if request.source is None else AUTO), request.settings)
    check_method(wanted, chosen=request.settings.method not in {None, AUTO})
    check_closed(wanted)
    device = resolve_device(wanted.device or "auto")
    wanted.resolve(1000, device)  # refuses what is out of range before anything is read
    if request.out is not None and request.resume is None:
        check_free(request.out)
    with process_group(device):
        request, examples, tests, extra = _read(request, wanted, tell, say)
        out = request.resume or request.out or next_run_folder(name_of(request.source))
        announce = announce_run(examples, out, say)
        settings, examples = _resolved(wanted, examples, device, tell, say)
        if request.decisions is not None:
            examples = _with_decisions(request.decisions, examples, request.read, settings.method, say)
        source = {
            "source": request.source,
            "read": explicit_options(request.read),
            "test": request.test,
            "extra": extra,
        }
        source |= {"decisions": None if request.decisions is None else str(request.decisions)}
        with threads_of(examples, settings):
            record = run(
                examples,
                settings,
                out,
                source=source,
                evaluations=tests,
                resume=request.resume is not None,
                tell=everyone(announce, tell),
            )
            if request.source is None and record.comparison is None:
                say("Plain training on the same labels, for comparison")
                record = record.updated(comparison=_compare(examples, tests, settings, tell_plain, out))
                if rank() == 0:
                    write_record(out, record)
    return record, out


def _resolved(
    wanted: Settings, examples: LabelledData, device: str, tell: Listener, say: Callable[[str], None]
) -> tuple[ResolvedSettings, LabelledData]:
    """Choose the method where that is open, say and note why, and fill in the other settings."""
    with threads_of(examples, replace(wanted, method="selfdistill").resolve(len(examples), device)):
        method, why = choose_method(wanted, examples, device, tell)
    if why:
        say("note: " + why)
        examples = replace(examples, notes=(*examples.notes, why))
    if method == CLOSED:
        examples = replace(examples, distributions=examples.shares)
    return replace(wanted, method=method).resolve(len(examples), device), examples


def check_method(wanted: Settings, *, chosen: bool) -> None:
    """Refuse what a method cannot use; that of a network is taken where none was chosen but options of training are."""
    if chosen and wanted.method in WITHOUT_EPOCHS:
        return
    try:
        method_of(wanted if chosen else replace(wanted, method="selfdistill"))
    except SettingError as error:
        if chosen:
            raise
        problem = Advice("{--method} auto, the default, chooses selfdistill here: {why}", why=error.problem)
        raise SettingError(problem, error.hint) from None


def _read(
    request: FitRequest, wanted: Settings, tell: Listener, say: Callable[[str], None]
) -> tuple[FitRequest, LabelledData, dict[str, tuple[Tensor, Tensor]], str | None]:
    """Read, through a pretrained network where data and method are such; name the extra that is missing for it."""
    features = takes_vectors(wanted) and request.resume is None and request.source is not None
    with encoding(tell):
        if features:
            request = replace(request, read=encoder_of_photos(str(request.source), request.read))
        elif request.resume is None:
            request = replace(request, read=side_of_network(request.source, request.read, wanted.network))
        examples, tests = read_sources(request, wanted.seed or 0, say, mapped=takes_vectors(wanted))
        if not features:
            return request, examples, tests, None
        read = encoder_of_texts(str(request.source), request.read, examples)
        if read != request.read:
            request = replace(request, read=read)
            examples, tests = read_sources(request, wanted.seed or 0, lambda text: None, mapped=takes_vectors(wanted))
    return request, examples, tests, missing_extra(str(request.source), request.read, examples)


def _with_decisions(
    path: Path, examples: LabelledData, read: ReadOptions, method: str, say: Callable[[str], None]
) -> LabelledData:
    """Hold labels that a person decided on."""
    if method != CLOSED:
        raise SettingError(
            f"decisions {path} cannot be held: method {method!r} trains on them",
            Advice(
                "Choose {--method} kernel",
                "train on the decided labels themselves: `selfdistill refine RUN --relabel --decisions FILE "
                "--out NEW`, then `selfdistill fit NEW --label refined_label`.",
            ),
            param="decisions",
        )
    ids, given = examples.ids.tolist(), [examples.classes[code] for code in examples.labels.tolist()]
    by_number = numbered(read, ids)
    found = read_decisions(path, ids, examples.classes, given if by_number else None)
    if path.suffix.lower() == ".jsonl":
        _check_rows(path, examples, labels_digest(given) if by_number else None, say)
    codes = decided_array(found, examples.classes, len(examples))
    say(f"{len(found.labels):,} decided labels, from {path}")
    if found.unknown:
        say(f"warning: {len(found.unknown):,} names in {path} are of no example, such as {found.unknown[0]!r}")
    return replace(examples, settled=torch.from_numpy(codes), counts=examples.counts | {"settled": len(found.labels)})


def _check_rows(path: Path, examples: LabelledData, labels: str | None, say: Callable[[str], None]) -> None:
    """Refuse decisions about other labels, where rows have numbers for names (else ``None``); say where data differ."""
    header, n = read_header(path), len(examples)
    if header.get("data") == examples.fingerprint:
        return
    about = f"{path} holds decisions about the run {header.get('name', header['run'])!r}"
    other = None
    if header["examples"] != n:
        other = f"{header['examples']:,} examples, but the data have {n:,}"
    elif "data" in header and header.get("labels") != labels:
        other = f"other labels (fingerprint {str(header.get('labels', 'unknown'))[:8]}, not {str(labels)[:8]})"
    if labels is not None and other is not None:
        raise DataError(
            f"{about} with {other}, and rows are named by numbers",
            Advice(
                "Give the data of that run",
                "name rows by a column, {--id} COLUMN in both",
                "write a table of decisions, of which each given label is compared: `selfdistill review RUN --export "
                "FILE.csv`.",
            ),
        )
    if "data" in header:
        say(f"note: {about}, whose data were others: labels are held by the names of the examples")


def announce_run(examples: LabelledData, out: Path, say: Callable[[str], None]) -> Listener:
    """Say what was read, and make the listener that says where the run lies once it starts."""
    say(describe(examples))
    for note in examples.notes:
        say("note: " + note)
    for warning in examples.warnings:
        say("warning: " + warning)

    def announce(event: Event) -> None:
        if isinstance(event, RunStarted):
            gone_on = f", from epoch {event.first_epoch + 1}" if event.first_epoch else ""
            say(f"Run directory: {out}{gone_on}")
            for warning in event.warnings:
                say("warning: " + warning)

    return announce


def threads_of(examples: LabelledData, settings: ResolvedSettings) -> AbstractContextManager[None]:
    """One thread for few rows in closed form, and for a fully connected network with little to do."""
    # Convolutions use their weights many times over.
    if settings.method == CLOSED:
        return closed_threads(len(examples))
    shape = tuple(examples.inputs.shape[1:])
    spec = choose_network(settings.network, len(examples), shape, examples.preprocess.only_scaled)
    if not spec.startswith(("mlp", "linear")):
        return nullcontext()
    stats = examples.preprocess.stats
    network = build(spec, shape, examples.num_classes, seed=0, stats=stats, device="meta")
    return threads_for(sum(p.numel() for p in network.parameters()), settings.batch_size)


def _compare(
    examples: LabelledData,
    tests: dict[str, tuple[Tensor, Tensor]],
    settings: ResolvedSettings,
    tell: Listener,
    out: Path,
) -> dict[str, Any]:
    try:
        return compare_with_plain(examples, tests, settings, tell)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped in the comparison; the run in {out} is finished",
            f"Go on with: selfdistill fit --resume {quoted(out)}{as_many()}",
        ) from None


def _completed(request: FitRequest) -> FitRequest:
    """Fill in from the record what a resumed run was started with."""
    if request.resume is None:
        return request
    if request.out is not None and request.out != request.resume:
        raise RunError(
            f"out {request.out} is not the run to go on with, {request.resume}",
            Advice("Leave {--out} out: a run goes on where it is."),
            param="out",
        )
    record = read_record(request.resume)
    described = record.data
    if described.taught:
        raise RunError(
            f"{request.resume} learns from a teacher",
            f"Go on with: selfdistill distill --resume {quoted(request.resume)}",
        )
    if described.read is None:
        raise RunError(
            f"{request.resume} was not started by `selfdistill fit`", "Resume it from the code that started it."
        )
    check_named(request.resume, described.read, request.read)
    known = {one.name for one in fields(Settings)}
    if record.settings.method == CLOSED:  # the record holds also what stands for the epochs that it has not
        known = {"method", "seed", *OF_CLOSED}
    earlier = Settings(**{name: value for name, value in record.settings.as_dict().items() if name in known})
    return FitRequest(
        source=request.source if request.source is not None else described.source,
        test=request.test if request.test is not None else described.test,
        read=overlaid(described.read, request.read),
        settings=overlaid(earlier, request.settings),
        resume=request.resume,
        decisions=request.decisions or (None if described.decisions is None else Path(described.decisions)),
    )


def read_sources(
    request: FitRequest, seed: int, say: Callable[[str], None] = lambda text: None, *, mapped: bool = False
) -> tuple[LabelledData, dict[str, tuple[Tensor, Tensor]]]:
    """Read training data and, by the name ``"test"``, what is measured on; or make the demonstration's."""
    if request.source is None:
        for name in (*explicit_options(request.read), *(["test"] if request.test is not None else [])):
            raise SettingError(
                f"{name} does not apply to the built-in digits, which are taken where no data are named",
                Advice("Name your data: selfdistill fit SOURCE {flag} ...", "leave {flag} out.", flag=Flag(name)),
                param=name,
            )
        say("Built-in digits: a fifth held out as a clean test set, 40 % of the other labels flipped")
        return noisy_digits(seed)
    say(f"Reading {request.source}")
    examples = data_read(request.source, request.read, mapped=mapped)
    test = read_test(request.test, examples, request.read, source=request.source)
    return examples, {} if test is None else {"test": test[:2]}


def name_of(source: str | None) -> str:
    """Name a run's folder after its data; ``None``: the built-in digits."""
    if source is None:
        return _DIGITS
    path = Path("input" if source == "-" else source)
    with suppress(OSError):
        path = path.resolve()
    return path.name.split(".")[0] or "data"
