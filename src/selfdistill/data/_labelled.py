"""One form for every source, what a reader is told, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from selfdistill._core.advice import Notice
from selfdistill._core.wording import clean
from selfdistill.data._labels import short
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._stored import MappedInputs


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


class Note(Notice):
    """A sentence about what was found or decided by itself, nothing to worry about; any other text is a warning."""


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
        shares: Shares of several annotators' votes ``[n, K]``, of which ``labels`` are the likeliest; else ``None``.
            They become the ``distributions`` where a run takes the closed form.
        votes: Of how many votes each row's shares or distribution is made, int64 ``[n]``; ``None``: of one.
        weights: How many rows each example counts as, float64 ``[n]``; ``None``: one.
        settled: True labels of examples that a person settled, int64 ``[n]``, -1 for all others; ``None``: of none.
            Only the closed form takes them.
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
    shares: Tensor | None = None
    votes: Tensor | None = None
    weights: Tensor | None = None
    settled: Tensor | None = None

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
    "settled": "labels settled by a person",
}


def describe(data: LabelledData) -> str:
    """Say what was read, in two or three short lines; the warnings are not among them."""
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
