r"""Self-ensemble label correction (Lu & He 2022, arXiv 2205.01156).

The given label for some epochs, then an average that starts at it and takes in each prediction, with α = 0.9:

.. math:: t_i \leftarrow \alpha\, t_i + (1 - \alpha)\, p_i, \qquad t_i^{(0)} = e_{y_i}

A step is matched to the average with its own prediction in it, as in the authors' code. After k epochs of averaging the
given label has the weight :math:`\alpha^k`. Method memory differs in two ways: it averages from the first epoch on,
and a step's own prediction joins only after it.

The paper estimates the epoch from which to average by a mixture fitted to the losses; the authors' code has its
estimates as constants, from 20 to 40 of 200 epochs by data set and noise (30 on CIFAR-10 at 40 and 60 %). Here it is
30/200 of the epochs. Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

Example:
    >>> targets = SelfEnsemble(torch.tensor([0]), 2, start=0, momentum=0.5)
    >>> targets.read(torch.tensor([0]), torch.zeros(1, 2)).tolist()
    [[0.75, 0.25]]
"""

from __future__ import annotations

from typing import TypeVar, final

import torch
from torch import Tensor

from selfdistill import losses
from selfdistill._core.errors import SettingError
from selfdistill._core.row_blocks import row_one_hot
from selfdistill.rivals._method import Method
from selfdistill.targets import Targets
from selfdistill.targets._base import check_logits, check_momentum

_START = 30 / 200  # epochs on the given labels, as a share

T_co = TypeVar("T_co", covariant=True)


class AveragedTargets(Targets[T_co]):
    """The given labels up to epoch ``start``, counted from 0, then their average with predictions."""

    epoch: Tensor
    momentum: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, start: int, momentum: float = 0.9) -> None:
        check_momentum(momentum, "0.9 is the paper's.")
        if start < 0:
            raise SettingError(f"start is {start}, but must be at least 0", "0 averages from the first epoch on.")
        super().__init__(row_one_hot(labels, num_classes))
        self.start, self.full = start, momentum
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("momentum", torch.tensor(1.0 if start > 0 else momentum))

    def average(self, index: Tensor, logits: Tensor | None) -> Tensor:
        """Return the averages of ``index`` with this step in them, ``[b, K]``, detached; needs ``logits``."""
        return torch.lerp(check_logits(logits).detach().float().softmax(-1), self.value[index], self.momentum)

    def renewed(self, mean: Tensor, value: Tensor) -> Tensor:
        """Return the average of labels and predictions."""
        return torch.lerp(mean, value, self.momentum)

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Average the predictions in, and count the epoch."""
        super().commit(mean, written)
        self.epoch += 1
        self.momentum.copy_(torch.where(self.epoch >= self.start, self.full, 1.0))


@final
class SelfEnsemble(AveragedTargets[Tensor]):
    """The averages themselves as targets."""

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the targets of ``index`` with this step in them, ``[b, K]``; needs ``logits`` ``[b, K]``."""
        return self.average(index, logits)


METHODS = {
    "selc": Method(
        lambda c: SelfEnsemble(c.labels, c.num_classes, start=round(_START * c.epochs)),
        losses.cross_entropy,
        "averaged predictions after 3/20 of the epochs (SELC, Lu & He 2022)",
    ),
}
