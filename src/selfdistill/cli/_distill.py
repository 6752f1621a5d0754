"""``selfdistill distill``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfdistill._core.files import json_text
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import Settings
from selfdistill.cli import _distill_options as d
from selfdistill.cli import _options as o
from selfdistill.cli._array_options import Inputs, Labels
from selfdistill.cli._display import first_process, print_lines, showing, speak, write
from selfdistill.cli._interrupt import leaving_at_once
from selfdistill.cli._number_options import Annotator, Decimal, Encoding, Thousands
from selfdistill.cli._processes import check_processes
from selfdistill.cli._said import READING, said

if TYPE_CHECKING:
    from selfdistill._core.record import RunRecord

__all__ = ["distill"]

_SETTINGS = (
    "epochs",
    "batch_size",
    "lr",
    "augment",
    "keep_epochs",
    "seed",
    "device",
    "precision",
    "compile",
)
_ORDER = ("teacher", "source", "test", "store", "also", "out", "resume")
_LESSON = (
    "student",
    "objective",
    "temperature",
    "weight",
    "mixing",
    "alpha",
    "beta",
    "generations",
    "choose",
    "entries",
)


def distill(
    teacher: d.Teacher = None,
    source: d.Data = None,
    student: d.Student = None,
    objective: d.Objective = None,
    temperature: d.Temperature = None,
    weight: d.Weight = None,
    mixing: d.Mixing = None,
    alpha: d.Alpha = None,
    beta: d.Beta = None,
    generations: d.Generations = None,
    choose: d.Choose = None,
    also: d.Also = None,
    top_k: d.Entries = None,
    store: d.Store = None,
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
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.Lr = None,
    augment: o.Augment = None,
    keep_epochs: o.KeepEpochs = None,
    seed: o.Seed = None,
    device: o.Device = None,
    precision: o.Precision = None,
    compile: o.Compile = False,
    processes: o.Processes = None,
    out: o.Out = None,
    resume: o.Resume = None,
    json: o.Json = False,
) -> None:
    """Teach a student what a trained network knows, without clean labels.

    The teacher labels the training set once; the student learns from that file and costs what plain training costs. Of
    a run that kept the weights of several epochs, the one that teaches is chosen from noisy labels alone. The student
    is a run like any other: predict, refine and air take it.

    [bold]Examples:[/bold]

        selfdistill fit photos/ --method cross-entropy --held-out 0.1 --keep-epochs all
        selfdistill distill runs/photos-001 --student mlp:32
        selfdistill distill runs/photos-001 --student cnn --choose air
        selfdistill distill runs/photos-001 --objective born-again --generations 3
        selfdistill distill runs/photos-001 photos/ --store soft.safetensors
        selfdistill distill soft.safetensors photos/ --student cnn
        selfdistill distill runs/photos-001 --with runs/photos-002 --objective dkd
        selfdistill distill logits.npy photos/
        selfdistill distill --resume runs/photos-student-001
        selfdistill distill runs/photos-001 --processes 2
    """
    options = locals() | {"keep_epochs": o.number_or_word(keep_epochs), "entries": top_k}
    asked: dict[str, Any] = {
        "read": ReadOptions(**said(options, READING)),
        "settings": Settings(**said(options, _SETTINGS)),
        "distiller": said(options, _LESSON),
    }
    asked |= {name: options[name] for name in _ORDER} | {"also": tuple(also or ())}
    check_processes(processes)
    _run(asked, json)


def _run(asked: dict[str, Any], as_json: bool) -> None:
    with leaving_at_once():
        from selfdistill.distill import DistillRequest, start

    order = DistillRequest(**asked)
    if not first_process():
        start(order)
        return
    with showing() as tell:
        record, folder = start(order, tell=tell, say=speak)
    from selfdistill._core.record import reading_record

    with reading_record(folder):
        lines = [_as_json(record, folder)] if as_json else _verdict(record, folder)
    if as_json:
        write(lines[0] + "\n")
    else:
        print_lines(lines)


def _as_json(record: RunRecord, folder: Path) -> str:
    files = {name: str(folder / name) for name in ("labels.parquet", "model.safetensors", "run.json", "metrics.jsonl")}
    found = record.as_json()
    shown = {"run": str(folder), "result": found["result"], "distillation": found["distillation"]}
    shown |= {"files": files, "warnings": record.warnings}
    return json_text(shown)


def _verdict(record: RunRecord, folder: Path) -> list[str]:
    from selfdistill.distill import summary
    from selfdistill.train import verdict

    return [*summary(record), "", *verdict(record, folder, labels=False)]
