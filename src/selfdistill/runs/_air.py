"""What a network learns first, of a run or of data: the kernel of each moment, measures, figures."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from selfdistill._core.advice import Advice
from selfdistill._core.air_options import AirOptions
from selfdistill._core.errors import SettingError
from selfdistill._core.files import write_json
from selfdistill._core.record import environment
from selfdistill._core.run_record import RunRecord
from selfdistill.air import network_kernel
from selfdistill.air._figures import save_closed_figure, save_figures
from selfdistill.air._monitor import choose_examples
from selfdistill.air._snapshot import DENSE, Examples, outputs_of, snapshot
from selfdistill.air._study import SCHEMA, study
from selfdistill.ntk import NTK
from selfdistill.runs._subject import Subject, known_positions


def measure(
    subject: Subject, name: str, is_run: bool, options: AirOptions, say: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, Any], float]:
    """Take kernel and measures of each moment, after a word on their cost: the record of ``air.json``, and seconds."""
    examples, ids = _chosen(subject, options)
    started = clock.perf_counter()
    spectra, found, start = {}, [], None
    for number, (moment, make) in enumerate(subject.moments.items(), 1):
        network = make(examples.inputs)
        if start is None:
            say(_forecast(network, subject, examples, options))
            start = outputs_of(network, examples.inputs)
        kernel_started = clock.perf_counter()
        kernel = network_kernel(options.output, options.rank, options.memory, None, examples.parts()["given"])
        spectra[moment] = kernel(network, examples.inputs)
        seconds = clock.perf_counter() - kernel_started
        say(f"Kernel {number} of {len(subject.moments)} ({moment}): {seconds:.1f} s")
        first = next(iter(spectra.values())) if number > 1 else None
        epoch = subject.epochs.get(moment)
        found.append(snapshot(moment, network, examples, spectra[moment], epoch=epoch, first=first, seconds=seconds))
    assert start is not None
    measures = study(
        examples, spectra, start, found, output=options.output, measured=subject.measured, time=options.time
    )
    described = {
        "source": name,
        "name": subject.name,
        "is_run": is_run,
        "network": subject.spec,
        "examples_total": len(subject.data),
        "examples": len(examples),
        "classes": list(subject.data.classes),
        "clean_is": subject.clean_is,
        "ids": ids,
    }
    record = {"schema": SCHEMA} | environment("cpu") | {"settings": asdict(options), "data": described} | measures
    return record, clock.perf_counter() - started


def _chosen(subject: Subject, options: AirOptions) -> tuple[Examples, list[str]]:
    known = known_positions(subject)
    picked = known[choose_examples(subject.data.labels[known], options.examples, options.seed)]
    clean = None if subject.clean is None else subject.clean[picked]
    data = subject.data
    for labels in (data.labels[picked], clean):
        if labels is not None and bool((labels == labels[0]).all()):
            raise SettingError(
                f"the {len(picked)} examples drawn are all of the class {data.classes[int(labels[0])]!r}",
                Advice("Take more with {--examples}."),
            )
    ids = [str(name) for name in data.ids[picked.numpy()]]
    return Examples(data.inputs[picked], data.labels[picked], data.num_classes, clean), ids


def _forecast(network: nn.Module, subject: Subject, examples: Examples, options: AirOptions) -> str:
    """Say what it will cost."""
    plan = NTK(network, examples.inputs, output=options.output, memory=options.memory, progress=False).plan  # type: ignore[arg-type]
    cost, times, n = plan.matrix or plan.product or "more than the memory allows", len(subject.moments), len(examples)
    pairs = f"all eigenpairs at {9e-9 * n**3:,.1f} GFLOP" if n <= DENSE else f"{options.rank or 200} eigenpairs"
    return (
        f"{n:,} of {len(subject.data):,} examples, network {subject.spec}, kernel {options.output}: "
        f"{times} kernel{'s' if times > 1 else ''} at {cost} each, then {pairs} each"
    )


def write_study(folder: Path, record: dict[str, Any]) -> list[str]:
    """Write ``air.json`` and the figures into a folder, which may be new; give the files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "air.json", record)
    return [str(folder / "air.json"), *map(str, save_figures(folder, record))]


def write_closed(folder: Path, record: RunRecord, name: str | None) -> tuple[dict[str, Any], list[str]]:
    """Write the spectrum that a record in closed form holds: what ``air.json`` gets, and the files."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = {"schema": SCHEMA, "data": {"name": name}, "closed": record.as_json()["closed"]}
    write_json(folder / "air.json", shown)
    return shown, [str(folder / "air.json"), *map(str, save_closed_figure(folder, record.as_json()))]
