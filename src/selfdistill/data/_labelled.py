"""One form for every source: a tensor of inputs, the given labels, and the names that people know them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from selfdistill.data._mapped import MappedInputs
    from selfdistill.data._preprocess import Preprocess


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
