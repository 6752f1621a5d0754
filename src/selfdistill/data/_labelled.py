"""One form for every source, what a reader is told, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from selfdistill._core.wording import clean
from selfdistill.data._labels import short

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess
    from selfdistill.data._stored import MappedInputs


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


class Note(str):
    """A sentence about what was found or decided by itself, nothing to worry about; any other text is a warning."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A data set in the one form that the rooms take.

    Attributes:
        inputs: float32 ``[n, d]`` (already standardised) or images ``[n, c, h, w]``, uint8 or float32 (the network
            standardises them). Where they stay on disk, a tensor without numbers, on the device ``meta``.
        labels: Given labels, int64 ``[n]``, values in ``[0, len(classes))``.
        classes: Class names, sorted; all strings.
        ids: One name per example, unique; strings ``[n]``.
        preprocess: How ``inputs`` were made from the source, for use on new data.
        truth: True labels where known, int64 ``[n]``; −1 where unknown for one example. Never used to train.
        counts: What reading did: ``missing_values``, ``dropped_unlabelled``, ``skipped_bad``, ...
        warnings: Sentences for the user.
        notes: Sentences about what was decided by itself, such as which column is the label.
        mapped: The inputs, where they stay on disk; only where that was allowed, see `read`.
        distributions: Given label distributions, floats ``[n, K]``, of which ``labels`` are the likeliest classes;
            ``None`` where each example has one label. Only the closed form takes them.
        weights: How many rows each example counts as, float64 ``[n]``; ``None``: one.
        fingerprint: SHA-256 over inputs, labels, ids and classes: a resumed run must see the same.
    """

    inputs: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    ids: np.ndarray
    preprocess: Preprocess
    truth: Tensor | None = None
    counts: dict[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    fingerprint: str = ""
    notes: Sequence[str] = ()
    mapped: MappedInputs | None = None
    distributions: Tensor | None = None
    weights: Tensor | None = None

    @property
    def rows(self) -> Tensor | MappedInputs:
        """The inputs, for those who read them in parts: from memory or from disk."""
        return self.inputs if self.mapped is None else self.mapped

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def __len__(self) -> int:
        return len(self.labels)


_COUNTS = {
    "missing_values": "missing values imputed",
    "constant_columns": "constant columns",
    "dropped_unlabelled": "rows without a label left out",
    "skipped_bad": "unreadable images left out",
}


def describe(data: LabelledData) -> str:
    """Say what was read, in two or three short lines; the warnings are not among them.

    Args:
        data: The data set.

    Returns:
        Lines without a final newline.

    Example:
        >>> from selfdistill.data import from_arrays
        >>> print(describe(from_arrays([[1.0], [2.0]], ["b", "a"])))
        2 examples, 1 number
        2 classes: a, b
    """
    lines = [f"{len(data):,} examples, {data.preprocess.facts()}"]
    shown = ", ".join(clean(short(name)) for name in data.classes[:10]) + (", ..." if data.num_classes > 10 else "")
    lines.append(f"{data.num_classes:,} classes: {shown}")
    counts = [f"{_COUNTS.get(name, name)}: {count:,}" for name, count in data.counts.items() if count]
    if data.truth is not None:
        known = data.truth >= 0
        if known.any():
            wrong = (data.truth != data.labels)[known].double().mean().item()
            counts.append(f"true labels known for {int(known.sum()):,}: {100 * wrong:.1f} % of the given ones differ")
    return "\n".join([*lines, *(["; ".join(counts)] if counts else [])])
