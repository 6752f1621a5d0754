"""The options of ``selfdistill distill`` that no other command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TEACHER, _STUDENT = "Teacher", "Student"

Teacher = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEACHER]",
        help="A run directory, a file of its weights (such as RUN/epochs/...), a file of soft labels, or an npy "
        "file with a row of logits or probabilities per example.",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]",
        help="What the student learns from, as `selfdistill fit` takes them. Default: the teacher's own.",
        show_default=False,
    ),
]
Student = Annotated[
    str | None,
    typer.Option(
        "--student",
        metavar="SPEC",
        help="The student's network: mlp:32, mlp:256,128, cnn, resnet18, ... Default: as for fit.",
        rich_help_panel=_STUDENT,
    ),
]
Objective = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="hinton (teacher and given labels), standardised (the same of standardised logits), dkd (given class and "
        "others apart), refinery (teacher only), born-again (any mixture), top-2, top-2-gce, noisy-best (the teacher's "
        "hard labels). Default: hinton.",
        rich_help_panel=_STUDENT,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Of hinton, dkd and standardised: above 1 is softer. Default: 4, of standardised 2.",
        rich_help_panel=_STUDENT,
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(
        metavar="W",
        help="Of hinton and standardised: the teacher's share beside the given labels. Default: 0.9.",
        rich_help_panel=_STUDENT,
    ),
]
Mixing = Annotated[
    float | None,
    typer.Option(
        metavar="XI",
        help="Of born-again: the teacher's weight, any number; above 1 moves away from the given labels. Default: 1.",
        rich_help_panel=_STUDENT,
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(metavar="A", help="Of dkd: weight of the given class. Default: 1.", rich_help_panel=_STUDENT),
]
Beta = Annotated[
    float | None,
    typer.Option(metavar="B", help="Of dkd: weight of the other classes. Default: 8.", rich_help_panel=_STUDENT),
]
Generations = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Students in a row, each taught by the one before. Default: 1.", rich_help_panel=_STUDENT
    ),
]
Choose = Annotated[
    str | None,
    typer.Option(
        metavar="WAY",
        help="Which epoch of the run teaches: last, held-out (agrees most with noisy labels held out), label-wave "
        "(first trough of changing predictions), air (kernel's time to stop). Default: held-out where the run can, "
        "else last.",
        rich_help_panel=_TEACHER,
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="TEACHER",
        help="A further teacher; the mean of all teachers' distributions is taught. May be repeated.",
        rich_help_panel=_TEACHER,
    ),
]
Entries = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        help="Keep the K largest logits of each soft label. Default: all, up to 1 GiB.",
        rich_help_panel=_TEACHER,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where the soft labels go, for other students; must not exist. Default: into the run directory.",
        rich_help_panel=_TEACHER,
    ),
]
