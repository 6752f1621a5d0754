"""The targets of co-teaching: the given labels, and the share of each batch to forget."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["SmallLoss"]


@final
class SmallLoss(nn.Module):
    r"""The given labels one-hot, and a share of the batch to leave out that grows from 0 to the noise rate.

    .. math:: f_e = \tau \min(e / e_k, 1), \qquad e = 0, 1, \dots

    The last epoch's predictions are kept for the record. Memory: ``n (8 K + 12)`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        noise_rate: τ, the share of wrong labels, in [0, 1).
        ramp: :math:`e_k`, epochs until the whole share is left out, above 0.

    Raises:
        SettingError: ``noise_rate`` or ``ramp`` out of range.

    References:
        Han et al. (2018), arXiv 1804.06872, section 4: :math:`R(T) = 1 - \tau \min(T / T_k, 1)`, updated at the end of
        each epoch (algorithm 1, line 8), so that the first epoch keeps all.

    Example:
        >>> targets = SmallLoss(torch.tensor([1, 0]), 2, noise_rate=0.4, ramp=2)
        >>> _ = targets.end_epoch()
        >>> given, forget = targets.read(torch.tensor([0]))
        >>> given.tolist(), round(forget.item(), 4)
        ([[0.0, 1.0]], 0.2)
    """

    labels: Tensor
    value: Tensor
    epoch: Tensor
    forget: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, noise_rate: float, ramp: float) -> None:
        super().__init__()
        if not 0 <= noise_rate < 1:
            raise SettingError(f"noise_rate is {noise_rate}, but must be in [0, 1)", "Pass 0.4 for 40 %.")
        if ramp <= 0:
            raise SettingError(f"ramp is {ramp} epochs, but must be above 0", "Pass a tenth of the epochs.")
        self.num_classes, self.noise_rate, self.ramp = num_classes, noise_rate, ramp
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("forget", torch.zeros(()))
        self.staged = SampleMean(len(labels), num_classes)

    def read(self, index: Tensor, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the given labels of ``index`` one-hot, ``[b, K]``, and the share to forget; no look at ``logits``."""
        return one_hot(self.labels[index], self.num_classes), self.forget

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``; they are kept for `refined` only."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Keep this epoch's predictions and move the schedule on; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], mean, self.value))
        self.epoch += 1
        self.forget.fill_(self.noise_rate * min(self.epoch.item() / self.ramp, 1.0))
        return mean, written

    def refined(self) -> Tensor:
        """Return the last epoch's mean predictions of both networks on the training set, ``[n, K]``."""
        return self.value
