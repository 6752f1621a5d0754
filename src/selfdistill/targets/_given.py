"""The given labels and nothing else: plain training, with the last epoch's predictions kept for the record."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["Given"]


@final
class Given(nn.Module):
    """Targets of plain training: the given label, one-hot.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.

    Example:
        >>> targets = Given(torch.tensor([1, 0]), 2)
        >>> targets.read(torch.tensor([0])).tolist()
        [[0.0, 1.0]]
    """

    labels: Tensor
    value: Tensor

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", one_hot(labels, num_classes))
        self.staged = SampleMean(len(labels), num_classes)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the given labels of ``index`` one-hot, ``[b, K]``; ``logits`` are not looked at."""
        return one_hot(self.labels.index_select(0, index), self.num_classes)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``; they are kept for `refined` only."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep this epoch's predictions, and return them; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], mean, self.value))
        return mean, written

    def refined(self) -> Tensor:
        """Return the last epoch's predictions on the training set, ``[n, K]``."""
        return self.value
