"""Options that say where features and labels lie in files of arrays."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Inputs", "Labels"]

_DATA = "Data"
Inputs = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Array of features in an npz or safetensors file. Default: the first of the usual names, such as X or "
        "embeddings.",
        rich_help_panel=_DATA,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Given labels of an npy, npz or safetensors file, where they lie apart: .npy, .csv, .parquet, or .txt "
        "with one on a line.",
        rich_help_panel=_DATA,
    ),
]
