"""``selfdistill air``."""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from selfdistill._core.advice import Advice, Flag
from selfdistill._core.air_options import AirOptions
from selfdistill._core.errors import SettingError
from selfdistill._core.folder import inside
from selfdistill._core.options import Option, explicit_options
from selfdistill._core.read_options import ReadOptions
from selfdistill.cli._air_tables import print_study
from selfdistill.cli._display import speak, write
from selfdistill.cli._main import leaving_at_once

if TYPE_CHECKING:
    from selfdistill._core.run_record import RunRecord


@dataclass(frozen=True, kw_only=True)
class AirTarget:
    """What is looked at, and where results go."""

    what: Annotated[
        str,
        Option("RUN|DATA", "A run directory that `selfdistill fit` finished, or labelled data.", argument=True),
    ]
    network: Annotated[str | None, Option("SPEC", "For data: the network, as in fit.", "Kernel")] = None
    out: Annotated[
        Path | None, Option("FOLDER", "Where air.json and figures go. Default: RUN/air, or air-NAME for data.", "Run")
    ] = None
    force: Annotated[bool, Option("", "Overwrite what an earlier call wrote there.", "Run")] = False
    json: Annotated[bool, Option("", "Print one JSON object instead of text.", "Run")] = False


def air(target: AirTarget, options: AirOptions, read: ReadOptions) -> None:
    """Show what a network learns first, how much of it is signal, and when to stop.

    Computes the neural tangent kernel on a subset and measures how much of the labels lies in its leading eigenvectors.
    For a run: the network as initialised and as trained, and the run's curves beside the predicted ones. For data: the
    network as initialised. Known true labels are used to measure; otherwise a run's refined labels are used, and the
    output says so. Writes air.json and four figures, SVG and PNG. The spectrum of a run in closed form is in its record
    and is drawn at once.

    [bold]Examples:[/bold]

        selfdistill air runs/digits-001
        selfdistill air photos/ --network cnn --examples 2000
        selfdistill air songs.csv --label genre --truth right --out air-songs
    """  # noqa: DOC501 (this text is the help)
    with leaving_at_once():
        from selfdistill._core.record import read_finished
        from selfdistill.runs._air import measure, write_study
        from selfdistill.runs._subject import of_data, of_run

    options.check()
    what, is_run = target.what, (Path(target.what) / "run.json").exists()
    folder = _folder(what, is_run, target.out, target.force)
    if is_run and (record := read_finished(Path(what))).closed is not None:
        _show_closed(record, folder, target.json)
        return
    if is_run:
        for option in (*(["network"] if target.network is not None else []), *explicit_options(read)):
            problem = f"{option} does not apply to a run, whose record says it"
            raise SettingError(problem, Advice("Leave {option} out.", option=Flag(option)), param=option)
    subject = of_run(Path(what)) if is_run else of_data(what, target.network, read, options.seed)
    study, seconds = measure(subject, _named(what), is_run, options, speak)
    files = write_study(folder, study)
    if target.json:
        shown = {name: study[name] for name in ("data", "at", "stopping", "stopping_epoch", "noise", "moments")}
        write(json_module.dumps({"air": str(folder), "files": files} | shown, allow_nan=False) + "\n")
    else:
        print_study(study, folder, seconds)


def _folder(what: str, is_run: bool, out: Path | None, force: bool) -> Path:
    """Choose where results go, and refuse a place that holds something before any work is done."""
    here = Path(f"air-{Path(what).name.split('.')[0] or 'data'}")
    folder = out or (inside(Path(what), "air") if is_run else here)
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"out {folder} is a file", "Name a folder.", param="out")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise SettingError(
            f"{folder} already holds files", Advice("Choose another {--out}", "overwrite them with {--force}.")
        )
    return folder


def _named(what: str) -> str:
    """Name data or a run as typed, but for the folders of an absolute path."""
    return Path(what).name if Path(what).is_absolute() else what


def _show_closed(record: RunRecord, folder: Path, as_json: bool) -> None:
    """Show what the record holds already."""
    from selfdistill.air._figures import closed_lines
    from selfdistill.runs._air import write_closed

    lines, source = closed_lines(record.as_json()), record.data.source
    shown, files = write_closed(folder, record, source and _named(source))
    if as_json:
        write(json_module.dumps({"air": str(folder), "files": files} | shown, allow_nan=False) + "\n")
    else:
        write("\n".join([*lines, "", "Files", *(f"  {name}" for name in files)]) + "\n")
