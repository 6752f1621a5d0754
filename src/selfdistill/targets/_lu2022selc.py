"""Self-ensemble label correction (Lu & He 2022, arXiv 2205.01156)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["SelfEnsemble"]


@final
class SelfEnsemble(nn.Module):
    r"""The given label for some epochs, then an average that starts at it and takes in each prediction.

    .. math:: t_i \leftarrow \alpha\, t_i + (1 - \alpha)\, p_i, \qquad t_i^{(0)} = e_{y_i}

    from epoch ``start`` on, counted from 0; until then :math:`t_i = e_{y_i}`. A step is matched to the average with its
    own prediction in it, as in the authors' code. After k epochs of averaging the given label has the weight
    :math:`\alpha^k`. `Memory` differs in two ways: it averages from the first epoch on, and a step's own prediction
    joins only after it.

    The paper estimates ``start`` from a mixture fitted to the losses; the authors' code has its estimates as constants,
    from 20 to 40 of 200 epochs by data set and noise (30 on CIFAR-10 at 40 and 60 %). The caller says the epoch here.

    Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        start: Epochs on the given labels alone.
        momentum: α in [0, 1); 0.9 is the paper's.

    Raises:
        SettingError: ``momentum`` outside [0, 1) or ``start`` below 0.

    References:
        Lu & He (2022), arXiv 2205.01156, and the authors' code for ``start``.

    Example:
        >>> targets = SelfEnsemble(torch.tensor([0]), 2, start=0, momentum=0.5)
        >>> targets.read(torch.tensor([0]), torch.zeros(1, 2)).tolist()
        [[0.75, 0.25]]
    """

    value: Tensor
    epoch: Tensor
    momentum: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, start: int, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise SettingError(f"momentum is {momentum}, but must be in [0, 1)", "0.9 is the paper's.")
        if start < 0:
            raise SettingError(f"start is {start}, but must be at least 0", "0 averages from the first epoch on.")
        self.start, self.full = start, momentum
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("momentum", torch.tensor(1.0 if start > 0 else momentum))
        self.staged = SampleMean(len(labels), num_classes)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index`` with this step in them.

        Args:
            index: Positions, int64 ``[b]``.
            logits: This batch's outputs ``[b, K]``; needed.

        Returns:
            Distributions ``[b, K]``, detached.

        Raises:
            SettingError: ``logits`` are missing.
        """
        if logits is None:
            raise SettingError("logits are missing, but this target looks at them", "Call read(index, logits).")
        return torch.lerp(logits.float().softmax(-1), self.value[index], self.momentum)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Average the staged predictions in, and count the epoch; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], torch.lerp(mean, self.value, self.momentum), self.value))
        self.epoch += 1
        self.momentum.copy_(torch.where(self.epoch >= self.start, self.full, 1.0))
        return mean, written

    def refined(self) -> Tensor:
        """Return the corrected labels, ``[n, K]``."""
        return self.value
