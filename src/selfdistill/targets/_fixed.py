"""Distributions that were made before training and do not change in it: a student's targets."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean

__all__ = ["Fixed"]


@final
class Fixed(nn.Module):
    """Targets that someone else made: the labels that a first training refined, or a teacher's predictions.

    Memory: ``12 n K`` bytes.

    Args:
        target: Distributions ``[n, K]``, rows sum to 1.

    Raises:
        SettingError: ``target`` has not two axes.

    References:
        Tanaka et al. (2018), arXiv 1803.11364 (second training on refined labels); Chen et al. (2021), arXiv 2012.04193
        (a student of a teacher's predictions).

    Example:
        >>> targets = Fixed(torch.tensor([[0.25, 0.75]]))
        >>> targets.write(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
        >>> _ = targets.end_epoch()
        >>> targets.read(torch.tensor([0])).tolist(), targets.refined().tolist()
        ([[0.25, 0.75]], [[1.0, 0.0]])
    """

    target: Tensor
    value: Tensor

    def __init__(self, target: Tensor) -> None:
        super().__init__()
        if target.ndim != 2:
            raise SettingError(f"target has {target.ndim} axes, but must have two", "Pass distributions [n, K].")
        self.register_buffer("target", target.detach().float().clone())
        self.register_buffer("value", self.target.clone())
        self.staged = SampleMean(*target.shape)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index``, ``[b, K]``; ``logits`` are not looked at."""
        return self.target.index_select(0, index)

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
        """Return the last epoch's predictions, ``[n, K]``; the targets before the first one is over."""
        return self.value
