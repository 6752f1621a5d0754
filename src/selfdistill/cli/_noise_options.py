"""Options that tell ``fit`` what is known of the noise."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["NoiseMatrix", "NoiseRate"]

_KNOWN = "What is known of the noise"
NoiseRate = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Share of wrong labels, such as 0.4, for --method co-teaching. Default: estimated, by a training more.",
        rich_help_panel=_KNOWN,
    ),
]
NoiseMatrix = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help=r"Matrix T\[clean, given] as .csv, .npy or .json, for --method forward or backward. Default: estimated, "
        "by a training more.",
        rich_help_panel=_KNOWN,
    ),
]
