"""``selfdistill fit``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from selfdistill._core.files import json_text
from selfdistill._core.options import Option
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import Settings
from selfdistill.cli._display import first_process, print_lines, showing, speak, write
from selfdistill.cli._main import leaving_at_once
from selfdistill.cli._processes import check_processes

if TYPE_CHECKING:
    from selfdistill._core.run_record import RunRecord

_RUN = "Run"
_FILES = ("labels.parquet", "model.safetensors", "run.json", "metrics.jsonl")


@dataclass(frozen=True)
class Source:
    """What to train on."""

    source: Annotated[
        str | None,
        Option(
            "[SOURCE]",
            "A table (CSV, Parquet, Feather, JSON, Excel, SQLite as file.db::table) or arrays (npz, npy, "
            "safetensors); a folder with one sub-folder of images per class, of IDX files (MNIST family), CIFAR binary "
            "batches, Parquet files, or a saved Hugging Face data set; datasets:NAME for one that the library datasets "
            "loads; - for standard input. Left out: scikit-learn's digits with 40 % of the labels flipped.",
            argument=True,
        ),
    ] = None
    report: Annotated[bool, Option("", "Write report.html into the run directory: a page of the results.", _RUN)] = (
        False
    )


@dataclass(frozen=True)
class RunOptions:
    """Where a run lies, what it is measured on, and how it is shown."""

    test: Annotated[
        str | None,
        Option(
            "FILE",
            "Labelled data for measuring accuracy after each epoch, never for choosing. IDX and CIFAR folders "
            "bring their own.",
            "Data",
        ),
    ] = None
    decisions: Annotated[
        Path | None,
        Option(
            "FILE",
            "Labels reviewed by a person, fixed while the others are refined: a file of `selfdistill review`, CSV (id, "
            "label) or Label Studio's JSON. In closed form.",
            "Data",
        ),
    ] = None
    processes: Annotated[
        int | None,
        Option(
            "N",
            "Share each batch among N processes of this machine, one for each GPU. --resume needs as many. Default: 1.",
            "Machine",
        ),
    ] = None
    out: Annotated[Path | None, Option("FOLDER", "The run directory. Default: the next free runs/NAME-NNN.", _RUN)] = (
        None
    )
    resume: Annotated[
        Path | None,
        Option("RUN", "Resume a stopped run with its data and settings; options given again must agree.", _RUN),
    ] = None
    json: Annotated[bool, Option("", "Print one JSON object instead of text.", _RUN)] = False


def fit(data: Source, read: ReadOptions, settings: Settings, run: RunOptions) -> None:
    """Train on labels that may be wrong, find the wrong ones and correct them.

    Needs no clean data, no noise rate and no tuning. Column types are detected. The
    run directory then holds the classifier, a table with a refined label and a label_quality for each example, and
    the record of the run. Ctrl-C saves; --resume continues.

    [bold]Examples:[/bold]

        selfdistill fit
        selfdistill fit embeddings.npz --label y
        selfdistill fit embeddings.npy --labels labels.csv
        selfdistill fit songs.csv --label genre --id track --test songs_test.csv
        selfdistill fit photos/
        selfdistill fit table.csv --image-column path --label y
        selfdistill fit photos/ --network resnet18 --epochs 40
        selfdistill fit --resume runs/photos-001
        selfdistill fit photos/ --processes 2
    """
    check_processes(run.processes)
    with leaving_at_once():
        from selfdistill.runs._request import FitRequest, start
        from selfdistill.runs._verdict import comparison, verdict

    request = FitRequest(data.source, run.test, read, settings, run.out, run.resume, run.decisions)
    if not first_process():
        start(request)
        return
    with showing() as tell, showing("plain") as tell_plain:
        record, folder = start(request, tell=tell, tell_plain=tell_plain, say=speak)
    if data.report:
        from selfdistill.report._report import Report

        speak(f"Report in {Report.of_run(folder).save(folder / 'report.html')}")
    if run.json:
        write(as_json(record, folder, "comparison") + "\n")
        return
    apart = [""] if sys.stderr.isatty() and sys.stdout.isatty() else []
    table = comparison(record)
    print_lines([*apart, *table, *([""] if table else []), *verdict(record, folder)])


def as_json(record: RunRecord, folder: Path, more: str) -> str:
    """Write what a run found, and where its files lie, as JSON; with another entry of its record, where it has one."""
    found = record.as_json()
    shown = {"run": str(folder)} | {name: found[name] for name in ("result", more) if name in found}
    files = {name: str(folder / name) for name in _FILES}
    return json_text(shown | {"files": files, "warnings": record.warnings})
