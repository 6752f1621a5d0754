"""Options that say how a table writes numbers."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Decimal", "Thousands"]

_DATA = "Data"
Decimal = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="Decimal mark of numbers in a table, . or ,. Default: found for each column.",
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
