"""Targets that a teacher set once: its stored soft labels beside the given ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot
from selfdistill.targets._soft_logits import SoftLogits

__all__ = ["Taught"]


@final
class Taught(nn.Module):
    """What to match, from a teacher's stored logits; the teacher itself is not asked again.

    In epoch e, from 0, view e mod V is read. The student's own predictions are kept for the record only.

    Args:
        labels: Given labels, int64 ``[n]``.
        store: The teacher's logits.
        reading: From given labels as distributions and the teacher's logits, both ``[b, K]``, to what the loss takes.

    Example:
        >>> store = SoftLogits(1, 1, 2)
        >>> store.write(0, slice(0, 1), torch.tensor([[0.25, 0.75]]).log())
        >>> targets = Taught(torch.tensor([0]), store, lambda given, teacher: teacher.softmax(-1))
        >>> targets.read(torch.tensor([0])).round(decimals=2).tolist()
        [[0.25, 0.75]]
    """

    labels: Tensor
    value: Tensor
    epoch: Tensor

    def __init__(self, labels: Tensor, store: SoftLogits, reading: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        _, _, k = store.shape
        self.store, self.reading, self.num_classes = store, reading, k
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", one_hot(labels, k))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.staged = SampleMean(len(labels), k)

    @property
    def view(self) -> int:
        """The view of this epoch."""
        views = self.store.shape[0]
        return int(self.epoch) % views if views > 1 else 0  # the counter may lie on the device: do not wait for it

    def read(self, index: Tensor, logits: Tensor | None = None) -> Any:
        """Say what to match on the examples ``index``; ``logits`` are not looked at."""
        return self.reading(one_hot(self.labels[index], self.num_classes), self.store.logits(index, self.view))

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``; they are kept for `refined` only."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep this epoch's predictions, turn to the next view, and return them; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], mean, self.value))
        self.epoch += 1
        return mean, written

    def refined(self) -> Tensor:
        """Return the student's last predictions, ``[n, K]``."""
        return self.value
