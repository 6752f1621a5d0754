r"""Self-adaptive training (Huang et al. 2020, arXiv 2002.10319, algorithm 1).

Averaged predictions as in `lu2022selc`, each example weighted by how sure its average is:

.. math:: t_i \leftarrow \alpha\, t_i + (1 - \alpha)\, p_i, \qquad
    w_i = \frac{\max_c t_{ic}}{\frac1b \sum_{j \in B} \max_c t_{jc}}, \qquad \ell_i = -w_i \sum_c t_{ic} \log p_{ic}

with α = 0.9 and the mean over the batch of all processes. For the first 60/200 of the epochs the target is the given
label and the weight 1. Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

Example:
    >>> targets = SelfAdaptive(torch.tensor([0, 1]), 2, start=0, momentum=0.5)
    >>> targets.read(torch.tensor([0, 1]), torch.tensor([[9.0, -9.0], [0.0, 0.0]])).weight.tolist()
    [1.1428..., 0.8571...]
    >>> value = weighted_cross_entropy(torch.zeros(1, 4), (torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([0.5])))
    >>> round(value.item(), 4)
    0.6931
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.dist import sum_over_processes
from selfdistill.losses import cross_entropy
from selfdistill.rivals._method import Method
from selfdistill.rivals.lu2022selc import AveragedTargets

_START = 60 / 200  # epochs on the given labels, as a share


def weighted_cross_entropy(
    logits: Float[Tensor, "b k"], weighted: tuple[Float[Tensor, "b k"], Float[Tensor, " b"]]
) -> Float[Tensor, " b"]:
    """Cross-entropy to a distribution, with a weight for each example; one value per example, in nats."""
    target, weight = weighted
    return weight * cross_entropy(logits, target)


class WeightedTarget(NamedTuple):
    """Distributions ``[b, K]``, and weights ``[b]`` with mean 1 over the batch."""

    target: Tensor
    weight: Tensor


@final
class SelfAdaptive(AveragedTargets[WeightedTarget]):
    """Averaged predictions, sure ones weighted more."""

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> WeightedTarget:
        """Return targets and weights of ``index`` with this step in them; needs ``logits`` ``[b, K]``."""
        target = self.average(index, logits)
        sure = target.amax(-1)
        total = sum_over_processes(torch.stack([sure.sum(), torch.ones_like(sure).sum()]))
        return WeightedTarget(target, sure * (total[1] / total[0]))


METHODS = {
    "sat": Method(
        lambda c: SelfAdaptive(c.labels, c.num_classes, start=round(_START * c.epochs)),
        weighted_cross_entropy,
        "averaged predictions, sure ones weighted more, after 3/10 of the epochs (self-adaptive, Huang et al. 2020)",
        whole_batches=True,
    ),
}
