r"""Early-learning regularisation (Liu et al. 2020, arXiv 2007.00151).

Cross-entropy to the given label, and a pull towards an average of predictions (eq. 6):

.. math:: -\sum_c t_c \log p_c + \lambda \log(1 - \langle p, m \rangle), \qquad
    m_i \leftarrow \beta\, m_i + (1 - \beta)\, \tilde p_i, \qquad m_i^{(0)} = 0

λ = 3 and β = 0.7 are the paper's for CIFAR-10 with symmetric noise; :math:`\tilde p` is the prediction clamped to
[1e-4, 1 − 1e-4] and normalised again, as in the authors' code. A step reads the average with its own prediction in it,
as there; each example is visited once an epoch, so that joining the staged prediction at the epoch's end is the same.
The first epochs' averages sum to less than 1, which the authors do not correct for, and training does not either; the
refined labels are normalised. Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

Example:
    >>> targets = EarlyLearning(torch.tensor([0]), 2, momentum=0.5)
    >>> targets.read(torch.tensor([0]), torch.zeros(1, 2)).memory.tolist()
    [[0.25, 0.25]]
    >>> t = torch.tensor([[1.0, 0.0]])
    >>> round(early_learning_regularized(torch.zeros(1, 2), (t, 0 * t)).item(), 4)
    0.6931
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.labels import normalised, one_hot
from selfdistill.losses import cross_entropy
from selfdistill.losses._anchored import ELR_FLOOR, elr_term
from selfdistill.rivals._method import Method
from selfdistill.targets._base import EVERY, LabelTargets, check_logits, check_momentum


def early_learning_regularized(
    logits: Float[Tensor, "b k"],
    target: tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]],
    strength: float = 3.0,
) -> Float[Tensor, " b"]:
    """Cross-entropy to the given labels plus the weighted ELR term: at least λ log 1e-4, per example."""
    given, memory = target
    return cross_entropy(logits, given) + strength * elr_term(logits, memory)


class MemoryTarget(NamedTuple):
    """Given labels one-hot, and averaged predictions with this step's in them, ``[b, K]``; rows sum to at most 1."""

    given: Tensor
    memory: Tensor


@final
class EarlyLearning(LabelTargets[MemoryTarget]):
    """The given label, and an average of predictions; ``momentum`` is β in [0, 1)."""

    def __init__(self, labels: Tensor, num_classes: int, *, momentum: float = 0.7) -> None:
        check_momentum(momentum, "0.7 is the paper's.")
        super().__init__(labels, num_classes)
        self.momentum = momentum
        self.value.zero_()

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> MemoryTarget:
        """Return the given labels of ``index`` and the memory with this step in it; needs ``logits`` ``[b, K]``."""
        p = _clamped(check_logits(logits).float().softmax(-1))
        return MemoryTarget(self.given(index), torch.lerp(p, self.value[index], self.momentum))

    def renewed(self, mean: Tensor, value: Tensor) -> Tensor:
        """Return the average of memory and predictions."""
        return torch.lerp(_clamped(mean), value, self.momentum)

    def refined(self, rows: slice = EVERY) -> Tensor:
        """Return the memory, normalised, ``[n, K]``; the given label where there is none yet."""
        value = self.value[rows]
        mass = value.sum(-1, keepdim=True)
        return torch.where(mass > 0, value / mass.clamp(min=ELR_FLOOR), one_hot(self.labels[rows], self.num_classes))


def _clamped(p: Tensor) -> Tensor:
    return normalised(p.clamp(ELR_FLOOR, 1 - ELR_FLOOR))


METHODS = {
    "elr": Method(
        lambda c: EarlyLearning(c.labels, c.num_classes),
        early_learning_regularized,
        "plain training, pulled to an average of each example's predictions (ELR, Liu et al. 2020)",
    ),
}
