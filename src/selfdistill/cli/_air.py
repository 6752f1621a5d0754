"""``selfdistill air``."""

from __future__ import annotations

import json as json_module
import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.errors import SettingError
from selfdistill._core.folder import inside
from selfdistill.cli import _options as o
from selfdistill.cli._air_tables import print_study
from selfdistill.cli._array_options import Inputs, Labels
from selfdistill.cli._display import speak, write
from selfdistill.cli._interrupt import leaving_at_once
from selfdistill.cli._number_options import Annotator, Decimal, Encoding, Thousands
from selfdistill.cli._said import READING, said

if TYPE_CHECKING:
    from selfdistill.air import Examples
    from selfdistill.cli._air_sources import Subject

__all__ = ["air"]


def air(
    what: o.AirWhat,
    network: o.AirNetwork = None,
    examples: o.AirExamples = 1000,
    output: o.AirOutput = "trace",
    rank: o.AirRank = None,
    time: o.AirTime = None,
    seed: o.AirSeed = 0,
    memory: o.AirMemory = "2GiB",
    label: o.Label = None,
    id: o.Id = None,
    ignore: o.Ignore = None,
    truth: o.Truth = None,
    text: o.Text = None,
    categorical: o.Categorical = None,
    numeric: o.Numeric = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    encoding: Encoding = None,
    annotator: Annotator = None,
    image_size: o.ImageSize = None,
    drop_unlabelled: o.DropUnlabelled = False,
    skip_bad: o.SkipBad = False,
    inputs: Inputs = None,
    labels: Labels = None,
    out: o.AirOut = None,
    force: o.AirForce = False,
    json: o.Json = False,
) -> None:
    """Show what a network learns first, how much of it is signal, and when to stop.

    Takes the neural tangent kernel on a subset and lays labels beside its leading directions. Of a run: the network as
    initialised and as trained, the run's curves beside the predicted ones. Of data: the network as initialised. Where
    true labels are known they are used to measure; else a run's refined labels stand in, and it says so. Writes
    air.json and four figures, SVG and PNG. A run in closed form has its spectrum in its record: it is drawn at once.

    [bold]Examples:[/bold]

        selfdistill air runs/digits-001
        selfdistill air photos/ --network cnn --examples 2000
        selfdistill air songs.csv --label genre --truth right --out air-songs
    """
    read = said(locals(), READING)
    asked = {"examples": examples, "output": output, "rank": rank, "time": time, "seed": seed, "memory": memory}
    _check(asked)
    folder = _folder(what, out, force)
    if _is_run(what) and (run := _closed_record(Path(what))) is not None:
        _show_closed(run, folder, json)
        return
    subject = _subject(what, network, read, seed)
    record, seconds = _measure(subject, what, asked)
    files = _write(folder, record)
    if json:
        shown = {name: record[name] for name in ("data", "at", "stopping", "stopping_epoch", "noise", "moments")}
        write(json_module.dumps({"air": str(folder), "files": files} | shown, allow_nan=False) + "\n")
    else:
        print_study(record, folder, seconds)


def _check(asked: dict[str, Any]) -> None:
    outputs = ("trace", "sum", "centered", "fisher")
    if asked["output"] not in outputs:
        raise SettingError(f"--output is {asked['output']!r}", f"Choose one of {', '.join(outputs)}.")
    if asked["examples"] < 2:
        raise SettingError(f"--examples is {asked['examples']}, but a kernel needs at least 2", "Leave it out.")
    if asked["rank"] is not None and not 1 <= asked["rank"] <= asked["examples"]:
        raise SettingError(
            f"--rank is {asked['rank']}, but {asked['examples']} examples have 1 to {asked['examples']} directions",
            "Leave it out for all of them.",
        )
    if asked["time"] is not None and not asked["time"] > 0:
        raise SettingError(f"--time is {asked['time']}, but must be above 0", "Leave it out for the time to stop.")


def _is_run(what: str) -> bool:
    return (Path(what) / "run.json").exists()


def _folder(what: str, out: Path | None, force: bool) -> Path:
    """Choose where results go, and refuse a place that holds something before any work is done."""
    here = Path(f"air-{Path(what).name.split('.')[0] or 'data'}")
    folder = out or (inside(Path(what), "air") if _is_run(what) else here)
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"--out {folder} is a file", "Name a folder.")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise SettingError(f"{folder} already holds files", "Choose another --out, or overwrite them with --force.")
    return folder


def _subject(what: str, network: str | None, read: dict[str, Any], seed: int) -> Subject:
    with leaving_at_once():
        from selfdistill.cli._air_sources import of_data, of_run

    if not _is_run(what):
        return of_data(what, network, read, seed)
    told = [*(["network"] if network is not None else []), *read]
    if told:
        flag = f"--{told[0].replace('_', '-')}"
        raise SettingError(f"{flag} does not apply to a run, whose record says it", f"Leave {flag} out.")
    return of_run(Path(what))


def _named(what: str) -> str:
    """Name data or a run as typed, but for the folders of an absolute path."""
    return Path(what).name if Path(what).is_absolute() else what


def _closed_record(run: Path) -> dict[str, Any] | None:
    """Read the record of a run in closed form; ``None`` where a network was trained."""
    from selfdistill._core.record import read_finished

    record = read_finished(run)
    return record if "closed" in record else None


def _show_closed(record: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Show what the record holds already."""
    from selfdistill._core.files import write_json
    from selfdistill.air import SCHEMA, closed_lines, save_closed_figure

    lines = closed_lines(record)
    folder.mkdir(parents=True, exist_ok=True)
    source = record["data"].get("source")
    shown = {"schema": SCHEMA, "data": {"name": source and _named(source)}, "closed": record["closed"]}
    write_json(folder / "air.json", shown)
    files = [str(folder / "air.json"), *map(str, save_closed_figure(folder, record))]
    if as_json:
        write(json_module.dumps({"air": str(folder), "files": files} | shown, allow_nan=False) + "\n")
    else:
        write("\n".join([*lines, "", "Files", *(f"  {name}" for name in files)]) + "\n")


def _chosen(subject: Subject, count: int, seed: int) -> tuple[Examples, list[str]]:
    from selfdistill.air import Examples, choose_examples
    from selfdistill.cli._air_sources import known_positions

    there = known_positions(subject)
    picked = there[choose_examples(subject.data.labels[there], count, seed)]
    clean = None if subject.clean is None else subject.clean[picked]
    data = subject.data
    ids = [str(name) for name in data.ids[picked.numpy()]]
    return Examples(data.inputs[picked], data.labels[picked], data.num_classes, clean), ids


def _measure(subject: Subject, what: str, asked: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Take kernel and measures of each moment, telling first what it will cost."""
    from selfdistill._core.record import environment
    from selfdistill.air import SCHEMA, network_kernel, outputs_of, snapshot, study

    examples, ids = _chosen(subject, asked["examples"], asked["seed"])
    took = clock.perf_counter()
    spectra, found, start = {}, [], None
    for number, (name, make) in enumerate(subject.moments.items(), 1):
        network = make(examples.inputs)
        if start is None:
            _forecast(network, subject, examples, asked)
            start = outputs_of(network, examples.inputs)
        begun = clock.perf_counter()
        kernel = network_kernel(asked["output"], asked["rank"], asked["memory"], None, examples.parts()["given"])
        spectra[name] = kernel(network, examples.inputs)
        seconds = clock.perf_counter() - begun
        speak(f"Kernel {number} of {len(subject.moments)} ({name}): {seconds:.1f} s")
        first = next(iter(spectra.values())) if number > 1 else None
        epoch = subject.epochs.get(name)
        found.append(snapshot(name, network, examples, spectra[name], epoch=epoch, first=first, seconds=seconds))
    assert start is not None
    measures = study(
        examples, spectra, start, found, output=asked["output"], measured=subject.measured, time=asked["time"]
    )
    described = {
        "source": _named(what),
        "name": subject.name,
        "is_run": _is_run(what),
        "network": subject.spec,
        "examples_total": len(subject.data),
        "examples": len(examples),
        "classes": list(subject.data.classes),
        "clean_is": subject.clean_is,
        "ids": ids,
    }
    record = {"schema": SCHEMA} | environment("cpu") | {"settings": asked, "data": described} | measures
    return record, clock.perf_counter() - took


def _forecast(network: Any, subject: Subject, examples: Examples, asked: dict[str, Any]) -> None:
    """Say what it will cost."""
    from selfdistill.air import DENSE
    from selfdistill.ntk import NTK

    plan = NTK(network, examples.inputs, output=asked["output"], memory=asked["memory"], progress=False).plan
    cost, times = plan.matrix or plan.product or "more than the memory allows", len(subject.moments)
    n = len(examples)
    pairs = f"all eigenpairs at {9e-9 * n**3:,.1f} GFLOP" if n <= DENSE else f"{asked['rank'] or 200} eigenpairs"
    speak(
        f"{n:,} of {len(subject.data):,} examples, network {subject.spec}, kernel {asked['output']}: "
        f"{times} kernel{'s' if times > 1 else ''} at {cost} each, then {pairs} each"
    )


def _write(folder: Path, record: dict[str, Any]) -> list[str]:
    from selfdistill._core.files import write_json
    from selfdistill.air import save_figures

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "air.json", record)
    return [str(folder / "air.json"), *map(str, save_figures(folder, record))]
