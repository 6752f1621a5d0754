"""``selfdistill distill``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from selfdistill._core.options import Option, explicit_options
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import Settings
from selfdistill.cli._command import Only
from selfdistill.cli._display import first_process, print_lines, showing, speak, write
from selfdistill.cli._fit import RunOptions, as_json
from selfdistill.cli._main import leaving_at_once
from selfdistill.cli._processes import check_processes

_TEACHER, _STUDENT = "Teacher", "Student"
_TRAINING = ("epochs", "batch_size", "lr", "augment", "keep_epochs", "seed", "ema")
_OFFERED = Only((*_TRAINING, "device", "precision", "compile", "accumulate"))


@dataclass(frozen=True)
class Teachers:
    """Who teaches, on which data, and where soft labels go."""

    teacher: Annotated[
        str | None,
        Option(
            "[TEACHER]",
            "A run directory, a file of its weights (such as RUN/epochs/...), a file of soft labels, or an npy "
            "file with a row of logits or probabilities per example.",
            argument=True,
        ),
    ] = None
    source: Annotated[
        str | None,
        Option(
            "[DATA]",
            "What the student learns from, as `selfdistill fit` takes them. Default: the teacher's data.",
            argument=True,
        ),
    ] = None
    also: Annotated[
        tuple[str, ...],
        Option(
            "TEACHER",
            "A further teacher; the mean of all teachers' distributions is taught. May be repeated.",
            _TEACHER,
            flag="--with",
        ),
    ] = ()
    store: Annotated[
        Path | None,
        Option(
            "FILE",
            "Where the soft labels go, for other students; must not exist. Default: into the run directory.",
            _TEACHER,
        ),
    ] = None


@dataclass(frozen=True)
class LessonOptions:
    """Fields of `selfdistill.distill.Distiller`, but for the settings."""

    student: Annotated[
        str | None,
        Option("SPEC", "The student's network: mlp:32, mlp:256,128, cnn, resnet18, ... Default: as for fit.", _STUDENT),
    ] = None
    objective: Annotated[
        str | None,
        Option(
            "NAME",
            "hinton (teacher and given labels), standardised (the same of standardised logits), dkd (given class and "
            "others apart), refinery (teacher only), born-again (any mixture), top-2, top-2-gce, noisy-best (the "
            "teacher's hard labels). Default: hinton.",
            _STUDENT,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        Option("T", "hinton, dkd, standardised: above 1 is softer. Default: 4 (standardised: 2).", _STUDENT),
    ] = None
    weight: Annotated[
        float | None,
        Option(
            "W",
            "hinton, standardised: weight of the soft labels (the rest is the given labels). Default: 0.9.",
            _STUDENT,
        ),
    ] = None
    mixing: Annotated[
        float | None,
        Option(
            "XI",
            "born-again: the teacher's weight, any number; above 1 moves away from the given labels. Default: 1.",
            _STUDENT,
        ),
    ] = None
    alpha: Annotated[float | None, Option("A", "dkd: weight of the given class. Default: 1.", _STUDENT)] = None
    beta: Annotated[float | None, Option("B", "dkd: weight of the other classes. Default: 8.", _STUDENT)] = None
    generations: Annotated[
        int | None, Option("N", "Students in a row, each taught by the one before. Default: 1.", _STUDENT)
    ] = None
    choose: Annotated[
        str | None,
        Option(
            "WAY",
            "Which epoch of the run teaches: last, held-out (agrees most with noisy labels held out), label-wave "
            "(first trough of changing predictions), air (kernel's time to stop). Default: held-out if the run held "
            "examples out, else last.",
            _TEACHER,
        ),
    ] = None
    entries: Annotated[
        int | None,
        Option(
            "K", "Keep the K largest logits of each soft label. Default: all, up to 1 GiB.", _TEACHER, flag="--top-k"
        ),
    ] = None


def distill(
    teachers: Teachers,
    lesson: LessonOptions,
    read: ReadOptions,
    settings: Annotated[Settings, _OFFERED],
    run: RunOptions,
) -> None:
    """Teach a student what a trained network knows, without clean labels.

    The teacher labels the training set once; the student learns from that file at the cost of plain training. If a run
    saved the weights of several epochs, the one that teaches is chosen from noisy labels alone. The student is a run
    like any other: predict, refine and air take it.

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
    check_processes(run.processes)
    with leaving_at_once():
        from selfdistill._core.record import reading_record
        from selfdistill.distill._measures import summary
        from selfdistill.distill._request import DistillRequest, start
        from selfdistill.runs._verdict import verdict

    request = DistillRequest(
        teachers.teacher,
        teachers.source,
        run.test,
        read,
        settings,
        explicit_options(lesson),
        teachers.store,
        teachers.also,
        run.out,
        run.resume,
    )
    if not first_process():
        start(request)
        return
    with showing() as tell:
        record, folder = start(request, tell=tell, say=speak)
    if run.json:
        write(as_json(record, folder, "distillation") + "\n")
        return
    with reading_record(folder):
        lines = [*summary(record), "", *verdict(record, folder, labels=False)]
    print_lines(lines)
