"""One form for every source, what a reader is told, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from selfdistill._core.advice import Notice
from selfdistill._core.wording import clean, short
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._stored import MappedInputs


class NewData(NamedTuple):
    """Examples to predict."""

    inputs: Tensor  # made as the training inputs were
    ids: np.ndarray  # one name per example, unique; strings ``[n]``
    labels: Tensor | None  # int64 ``[n]`` (−1: missing); ``None`` where the source has none
    warnings: tuple[str, ...] = ()  # sentences for the user


class Note(Notice):
    """A sentence about what was found or decided by itself, nothing to worry about; any other text is a warning."""


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A data set in the one form that the rooms take."""

    # float32 ``[n, d]`` (standardised) or images ``[n, c, h, w]``, uint8 or float32 (the network standardises them);
    # where they stay on disk, a tensor without numbers, on the device ``meta``
    inputs: Tensor
    labels: Tensor  # given, int64 ``[n]``, in ``[0, len(classes))``
    classes: tuple[str, ...]  # names, sorted
    ids: np.ndarray  # one name per example, unique; strings ``[n]``
    preprocess: Preprocess  # how ``inputs`` were made from the source, for use on new data
    truth: Tensor | None = None  # true labels, int64 ``[n]``; −1 where unknown. Never used to train.
    counts: dict[str, int] = field(default_factory=dict)  # what reading did: ``missing_values``, ``skipped_bad``, ...
    warnings: Sequence[str] = ()  # sentences for the user
    fingerprint: str = ""  # SHA-256 over inputs, labels, ids and classes: a resumed run must see the same
    notes: Sequence[str] = ()  # sentences about what was decided by itself, such as which column is the label
    mapped: MappedInputs | None = None  # the inputs, where they stay on disk; only where that was allowed, see `read`
    # The closed form alone takes what follows. Label distributions ``[n, K]``, of which ``labels`` are the likeliest
    # classes; shares of several annotators' votes ``[n, K]``, which become the distributions, and how many votes each
    # row has, int64 ``[n]`` (``None``: one); how many rows each example counts as, float64 ``[n]`` (``None``: one);
    # and labels that a person decided on, int64 ``[n]``, −1 for all others.
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
    "settled": "labels decided by a person",
}


def describe(data: LabelledData) -> str:
    """Say what was read, in two or three short lines; the warnings are not among them."""
    lines = [f"{len(data):,} examples, {data.preprocess.facts()}"]
    names = ", ".join(clean(short(name)) for name in data.classes[:10]) + (", ..." if data.num_classes > 10 else "")
    lines.append(f"{data.num_classes:,} classes: {names}")
    counts = [f"{_COUNTS.get(name, name)}: {count:,}" for name, count in data.counts.items() if count]
    if data.truth is not None:
        known = data.truth >= 0
        if known.any():
            wrong = (data.truth != data.labels)[known].double().mean().item()
            counts.append(f"true labels known for {int(known.sum()):,}: {100 * wrong:.1f} % of the given ones differ")
    return "\n".join([*lines, *(["; ".join(counts)] if counts else [])])
