"""What the loop is handed: inputs, where they come from, and the labels they were given."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch. The index is never optional: per-sample targets live by it.

    Attributes:
        inputs: Network inputs, ``[b, ...]``.
        index: Position of each example in the training set, int64 ``[b]``.
        labels: Given (possibly wrong) labels, int64 ``[b]``.
        weight: 1 for a real example, 0 for one that only pads the shard of a process; ``None`` where all are real.
        total: Real examples of this step over all processes.
    """

    inputs: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's word; hides tuple.index, which no batch needs
    labels: Tensor
    weight: Tensor | None
    total: int
