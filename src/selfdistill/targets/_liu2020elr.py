"""The targets of early-learning regularisation (Liu et al. 2020, arXiv 2007.00151)."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["EarlyLearning", "Remembered"]

_FLOOR = 1e-4  # the authors' clamp on predictions; losses.elr_term has the same


class Remembered(NamedTuple):
    """What `EarlyLearning` gives to ``losses.early_learning_regularized``.

    Attributes:
        target: Given labels, one-hot ``[b, K]``.
        memory: Averaged predictions, this step's included, ``[b, K]``; rows sum to at most 1.
    """

    target: Tensor
    memory: Tensor


@final
class EarlyLearning(nn.Module):
    r"""The given label, and an average of predictions that the regulariser pulls towards.

    .. math:: m_i \leftarrow \beta\, m_i + (1 - \beta)\, \tilde p_i, \qquad m_i^{(0)} = 0

    with :math:`\tilde p` the prediction clamped to [1e-4, 1 - 1e-4] and normalised again, as in the authors' code. A
    step reads the average with its own prediction in it, as there; each example is visited once an epoch, so that
    joining the staged prediction at the epoch's end is the same. The first epochs' averages sum to less than 1, which
    the authors do not correct for, and `read` does not either; `refined` does.

    Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        momentum: β in [0, 1); 0.7 is the paper's for CIFAR-10.

    Raises:
        SettingError: ``momentum`` outside [0, 1).

    References:
        Liu et al. (2020), arXiv 2007.00151 (temporal ensembling of the targets), and the authors' code for the clamp.

    Example:
        >>> targets = EarlyLearning(torch.tensor([0]), 2, momentum=0.5)
        >>> targets.read(torch.tensor([0]), torch.zeros(1, 2)).memory.tolist()
        [[0.25, 0.25]]
    """

    labels: Tensor
    value: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, momentum: float = 0.7) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise SettingError(f"momentum is {momentum}, but must be in [0, 1)", "0.7 is the paper's.")
        self.momentum = momentum
        self.register_buffer("labels", labels.clone())
        self.register_buffer("value", torch.zeros(len(labels), num_classes))
        self.staged = SampleMean(len(labels), num_classes)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Remembered:
        """Return the given labels of ``index`` and the memory with this step in it.

        Args:
            index: Positions, int64 ``[b]``.
            logits: This batch's outputs ``[b, K]``; needed.

        Returns:
            Labels and memory, ``[b, K]`` each, detached.

        Raises:
            SettingError: ``logits`` are missing.
        """
        if logits is None:
            raise SettingError("logits are missing, but this target looks at them", "Call read(index, logits).")
        target = one_hot(self.labels[index], self.value.shape[-1])
        return Remembered(target, torch.lerp(_held(logits.float().softmax(-1)), self.value[index], self.momentum))

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Average the staged predictions into the memory; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.value.copy_(torch.where(written[:, None], torch.lerp(_held(mean), self.value, self.momentum), self.value))
        return mean, written

    def refined(self) -> Tensor:
        """Return the memory, normalised, ``[n, K]``; the given label where there is none yet."""
        mass = self.value.sum(-1, keepdim=True)
        return torch.where(mass > 0, self.value / mass.clamp(min=_FLOOR), one_hot(self.labels, self.value.shape[-1]))


def _held(p: Tensor) -> Tensor:
    p = p.clamp(_FLOOR, 1 - _FLOOR)
    return p / p.sum(-1, keepdim=True)
