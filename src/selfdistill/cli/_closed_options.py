"""Options of the closed form."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Kernel", "LandmarkRows", "Rounds"]

_CLOSED = "Closed form"
Kernel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="linear, relu1, relu3 or rbf. Default: the one of least leave-one-out error.",
        rich_help_panel=_CLOSED,
    ),
]
LandmarkRows = Annotated[
    int | None,
    typer.Option(
        "--landmarks",
        metavar="N",
        help="Rows that the kernel is made from; more are more exact, time grows with the square. Default: all up to "
        "1,000, then 1,000, and 1,500 from 10,000 rows on.",
        rich_help_panel=_CLOSED,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        metavar="1|2|3",
        help="Rounds of self-distillation; 1 is ridge regression of the given labels. Default: those that explain the "
        "given labels best.",
        rich_help_panel=_CLOSED,
    ),
]
