"""Options of the commands that train: where a run lies, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from selfdistill._core.options import Option

_RUN = "Run"


@dataclass(frozen=True)
class RunOptions:
    """Where a run lies, what it is measured on, and how it is shown."""

    test: Annotated[
        str | None,
        Option(
            "FILE",
            "Labelled data to measure accuracy on after each epoch; nothing is chosen by it. IDX and CIFAR folders "
            "bring their own.",
            "Data",
        ),
    ] = None
    decisions: Annotated[
        Path | None,
        Option(
            "FILE",
            "Labels that a person settled, held while the others are refined: a file of `selfdistill review`, CSV (id, "
            "label) or Label Studio's JSON. In closed form.",
            "Data",
        ),
    ] = None
    processes: Annotated[
        int | None,
        Option(
            "N",
            "Share each batch among N processes of this machine, one for each GPU. --resume wants as many. Default: 1.",
            "Machine",
        ),
    ] = None
    out: Annotated[Path | None, Option("FOLDER", "The run directory. Default: the next free runs/NAME-NNN.", _RUN)] = (
        None
    )
    resume: Annotated[
        Path | None,
        Option(
            "RUN", "Go on with a stopped run. Data and settings are those it began with; given ones must agree.", _RUN
        ),
    ] = None
    json: Annotated[bool, Option("", "Print one JSON object instead of text.", _RUN)] = False
