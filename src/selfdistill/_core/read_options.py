"""What the user says about a source of data; everything else is detected. Loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from selfdistill._core.options import Option

_DATA = "Data"


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a source; everything else is detected."""

    label: Annotated[
        str | None,
        Option("COLUMN", "Column of the given labels. Default: the only one named label, target, class or y.", _DATA),
    ] = None
    id: Annotated[
        str | None,
        Option(
            "COLUMN",
            "Column that names the rows. Default: a column named id if its values are unique, else the row number.",
            _DATA,
        ),
    ] = None
    ignore: Annotated[tuple[str, ...], Option("COLUMN", "Column to leave out; may be repeated.", _DATA)] = ()
    truth: Annotated[
        str | None,
        Option("COLUMN", "Column of the true labels, where known: used for measuring, never for training.", _DATA),
    ] = None
    text: Annotated[tuple[str, ...], Option("COLUMN", "Take this column as free text.", _DATA)] = ()
    categorical: Annotated[tuple[str, ...], Option("COLUMN", "Take this column as categories.", _DATA)] = ()
    numeric: Annotated[tuple[str, ...], Option("COLUMN", "Take this column as numbers.", _DATA)] = ()
    decimal: Annotated[
        str | None,
        Option("MARK", "Decimal mark of numbers in a table, . or ,. Default: detected per column.", _DATA),
    ] = None
    thousands: Annotated[
        str | None,
        Option(
            "MARK",
            "Mark between thousands in a table: . or , or a space or '. Default: detected per column.",
            _DATA,
        ),
    ] = None
    encoding: Annotated[
        str | None,
        Option("NAME", "Encoding of a text file, such as cp1252. Default: UTF-8 if valid, else detected.", _DATA),
    ] = None
    annotator: Annotated[
        tuple[str, ...],
        Option(
            "COLUMN",
            "Column of one annotator's labels, gaps allowed; repeat it for each. The given label is the majority "
            "vote; the closed form learns from all votes of a row.",
            _DATA,
        ),
    ] = ()
    drop_unlabelled: Annotated[bool, Option("", "Leave out rows without a label.", _DATA)] = False
    skip_bad: Annotated[bool, Option("", "Leave out images that cannot be read, and list them.", _DATA)] = False
    image_size: Annotated[
        int | None,
        Option("PIXELS", "Resize photos to a square; otherwise only where their sizes differ.", _DATA),
    ] = None
    inputs: Annotated[
        str | None,
        Option(
            "NAME",
            "Array of features in an npz or safetensors file. Default: the first of the usual names, such as X or "
            "embeddings.",
            _DATA,
        ),
    ] = None
    labels: Annotated[
        str | None,
        Option(
            "FILE",
            "Given labels of an npy, npz or safetensors file, in a separate file: .npy, .csv, .parquet, or .txt "
            "with one on a line.",
            _DATA,
        ),
    ] = None
    image_column: Annotated[
        str | None,
        Option("COLUMN", "Column of a table with the paths of photos, relative to the table's folder.", _DATA),
    ] = None
    encoder: Annotated[
        str | None,
        Option(
            "NAME",
            "Pretrained network for photos or texts: photos, texts, hf:NAME, hf:FOLDER, timm:NAME, "
            "onnx:FILE, torch:MODULE:FACTORY or none. Default: photos or texts if that extra is installed and the "
            "method takes features.",
            _DATA,
        ),
    ] = None
    features: Annotated[
        str | None,
        Option("FOLDER", "Folder that keeps features for later runs. Default: a folder in runs/features.", _DATA),
    ] = None
