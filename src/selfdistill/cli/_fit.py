"""``selfdistill fit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.files import json_text
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import Settings
from selfdistill.cli import _options as o
from selfdistill.cli._array_options import Inputs, Labels
from selfdistill.cli._closed_options import Kernel, LandmarkRows, Rounds
from selfdistill.cli._display import first_process, print_lines, showing, speak, write
from selfdistill.cli._interrupt import leaving_at_once
from selfdistill.cli._noise_options import NoiseMatrix, NoiseRate
from selfdistill.cli._number_options import Annotator, Decimal, Encoding, Thousands
from selfdistill.cli._processes import check_processes
from selfdistill.cli._said import READING, said

if TYPE_CHECKING:
    from selfdistill._core.record import RunRecord

__all__ = ["fit"]

_SETTINGS = (
    "method",
    "network",
    "epochs",
    "batch_size",
    "lr",
    "augment",
    "held_out",
    "keep_epochs",
    "seed",
    "device",
    "precision",
    "compile",
    "noise_rate",
    "noise_matrix",
    "kernel",
    "landmarks",
    "rounds",
)


def fit(
    source: o.Source = None,
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
    test: o.Test = None,
    image_size: o.ImageSize = None,
    drop_unlabelled: o.DropUnlabelled = False,
    skip_bad: o.SkipBad = False,
    inputs: Inputs = None,
    labels: Labels = None,
    method: o.Method = None,
    network: o.Network = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    augment: o.Augment = None,
    held_out: o.HeldOut = None,
    keep_epochs: o.KeepEpochs = None,
    seed: o.Seed = None,
    device: o.Device = None,
    precision: o.Precision = None,
    compile: o.Compile = False,
    processes: o.Processes = None,
    noise_rate: NoiseRate = None,
    noise_matrix: NoiseMatrix = None,
    kernel: Kernel = None,
    landmarks: LandmarkRows = None,
    rounds: Rounds = None,
    out: o.Out = None,
    resume: o.Resume = None,
    json: o.Json = False,
) -> None:
    """Train on labels that may be wrong; find the wrong ones and set them right.

    Needs no clean data, no noise rate and no tuning. Numeric, categorical and text columns are found by themselves. The
    run directory then holds the classifier, a table with a refined label and a label_quality for each example, and
    the record of the run. Ctrl-C saves; --resume goes on.

    [bold]Examples:[/bold]

        selfdistill fit
        selfdistill fit embeddings.npz --label y
        selfdistill fit embeddings.npy --labels labels.csv
        selfdistill fit songs.csv --label genre --id track --test songs_test.csv
        selfdistill fit photos/ --network resnet18 --epochs 40
        selfdistill fit --resume runs/photos-001
        selfdistill fit photos/ --processes 2
    """
    options = locals() | {"keep_epochs": o.number_or_word(keep_epochs)}
    check_processes(processes)
    _run(source, test, said(options, READING), said(options, _SETTINGS), out, resume, as_json=json)


def _run(
    source: str | None,
    test: str | None,
    read: dict[str, Any],
    settings: dict[str, Any],
    out: Path | None,
    resume: Path | None,
    *,
    as_json: bool,
) -> None:
    with leaving_at_once():
        from selfdistill.train import FitRequest, start

    asked = FitRequest(source, test, ReadOptions(**read), Settings(**settings), out, resume)
    if not first_process():
        start(asked)
        return
    with showing() as tell, showing("plain") as tell_plain:
        record, folder = start(asked, tell=tell, tell_plain=tell_plain, say=speak)
    if as_json:
        write(_as_json(record, folder) + "\n")
    else:
        print_lines(_verdict(record, folder))


def _as_json(record: RunRecord, folder: Path) -> str:
    files = {name: str(folder / name) for name in ("labels.parquet", "model.safetensors", "run.json", "metrics.jsonl")}
    found = record.as_json()
    shown = {"run": str(folder)} | {name: found[name] for name in ("result", "comparison") if name in found}
    shown |= {"files": files, "warnings": record.warnings}
    return json_text(shown)


def _verdict(record: RunRecord, folder: Path) -> list[str]:
    from selfdistill.train import comparison, verdict

    apart = [""] if sys.stderr.isatty() and sys.stdout.isatty() else []
    table = comparison(record)
    return [*apart, *table, *([""] if table else []), *verdict(record, folder)]
