"""A memory of predictions: each example's exponential average, started at its given label."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["Memory"]


@final
class Memory(nn.Module):
    r"""Exponential average of each example's predictions over epochs, started at the given label.

    .. math::

        m_i^{(0)} = e_{y_i}, \qquad m_i^{(k+1)} = \beta\, m_i^{(k)} + (1 - \beta)\, \bar p_i^{(k)}, \qquad
        t_i = (1 - s)\, m_i + s\, e_{\arg\max m_i}

    The weight of the given label falls geometrically, as :math:`\beta^k`. ``hardness`` s turns the reading from the
    average itself (0) to its argmax (1). Merge over processes: mean of the epoch's writes (sum and count all-reduced).

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        momentum: β in [0, 1); per epoch.
        hardness: s as a function of progress, the share of epochs done, in [0, 1].
        epochs: Number of epochs that ``hardness`` spans.

    Raises:
        SettingError: ``momentum`` outside [0, 1) or ``epochs`` below 1.

    References:
        Laine & Aila (2017), arXiv 1610.02242 (temporal ensembling); Huang et al. (2020), arXiv 2002.10319, start at the
        given label; Lu & He (2022), arXiv 2205.01156 (the geometric decay).

    Example:
        >>> memory = Memory(torch.tensor([0]), 2, momentum=0.5)
        >>> memory.write(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
        >>> memory.read(torch.tensor([0])).tolist()  # staged, not yet committed
        [[1.0, 0.0]]
        >>> _ = memory.end_epoch()
        >>> memory.read(torch.tensor([0])).tolist()
        [[0.5, 0.5]]
    """

    value: Tensor
    epoch: Tensor
    hardness: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        *,
        momentum: float = 0.9,
        hardness: Callable[[float], float] = lambda progress: 0.0,
        epochs: int = 1,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise SettingError(f"momentum is {momentum}, but must be in [0, 1)", "0.9 is a good start.")
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        self.momentum = momentum
        self.epochs = epochs
        self._schedule = hardness
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("hardness", torch.tensor(float(hardness(0.0))))
        self.staged = SampleMean(len(labels), num_classes)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index``, ``[b, K]``; ``logits`` are not looked at."""
        value = self.value[index]
        return torch.lerp(value, one_hot(value.argmax(-1), value.shape[-1]), self.hardness)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Average the staged predictions into the memory, move the schedule on; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], torch.lerp(mean, self.value, self.momentum), self.value))
        self.epoch += 1
        self.hardness.fill_(self._schedule(min(self.epoch.item() / self.epochs, 1.0)))
        return mean, written

    def refined(self) -> Tensor:
        """Return the memory, ``[n, K]``."""
        return self.value
