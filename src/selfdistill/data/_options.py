"""What a reader is told, and what it hands back for data without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a source; everything else is found.

    Attributes:
        label: Column (or npz array) that holds the given labels; ``None``: the only one of label, target, class, y.
        id: Column that names each example; ``None``: a column called "id" with unique values, else the row number.
        ignore: Columns left out.
        truth: Column with the true labels, where known. Used to measure, never to train.
        text: Columns taken as free text whatever they look like.
        categorical: Columns taken as categories whatever they look like.
        numeric: Columns taken as numbers whatever they look like.
        decimal: Decimal mark of numbers in texts, ``"."`` or ``","``, wherever they can be read so; ``None``: found.
        thousands: Mark between thousands: ``"."``, ``","``, ``" "`` or ``"'"``; ``None``: found.
        drop_unlabelled: Leave out rows without a label instead of refusing them.
        skip_bad: Leave out images that cannot be read instead of refusing them.
        image_size: Resize every image of a folder to this height and width; ``None``: only where sizes differ.
        inputs: Array of an npz or safetensors file that holds the features; ``None``: the first with a usual name.
        encoding: Encoding of a text file, such as "cp1252"; ``None``: UTF-8 where its bytes are, else found.
        annotator: Columns of the labels of several annotators, gaps allowed: the given label is what most of them say.
        labels: File with the labels of the training rows of arrays: .npy, .csv, .parquet, or .txt with one on a line.

    Example:
        >>> ReadOptions(label="genre", ignore=("comment",)).truth is None
        True
    """

    label: str | None = None
    id: str | None = None
    ignore: tuple[str, ...] = ()
    truth: str | None = None
    text: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    decimal: str | None = None
    thousands: str | None = None
    drop_unlabelled: bool = False
    skip_bad: bool = False
    image_size: int | None = None
    inputs: str | None = None
    labels: str | None = None
    encoding: str | None = None
    annotator: tuple[str, ...] = ()


class NewData(NamedTuple):
    """Examples to predict.

    Attributes:
        inputs: Network inputs, made as the training inputs were.
        ids: One name per example, unique; strings ``[n]``.
        labels: Their labels where the source has them, int64 ``[n]`` (−1: missing); else ``None``.
        warnings: Sentences for the user.
    """

    inputs: Tensor
    ids: np.ndarray
    labels: Tensor | None
    warnings: tuple[str, ...] = ()
