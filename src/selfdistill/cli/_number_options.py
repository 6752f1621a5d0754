"""Options that say how a table is written."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Annotator", "Decimal", "Encoding", "Thousands"]

_DATA = "Data"
Decimal = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="Decimal mark of numbers in a table, . or ,. Default: found for each column.",
        rich_help_panel=_DATA,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Encoding of a text file, such as cp1252. Default: UTF-8 where its bytes are, else found.",
        rich_help_panel=_DATA,
    ),
]
Annotator = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of one annotator's labels, gaps allowed; repeat it for each. The given label is what most of them "
        "say.",
        rich_help_panel=_DATA,
    ),
]
Thousands = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="Mark between thousands in a table: . or , or a space or '. Default: found for each column.",
        rich_help_panel=_DATA,
    ),
]
