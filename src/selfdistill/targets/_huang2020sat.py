"""Self-adaptive training (Huang et al. 2020, arXiv 2002.10319)."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill._core.dist import sum_over_processes
from selfdistill.targets._lu2022selc import SelfEnsemble

__all__ = ["SelfAdaptive", "Weighted"]


class Weighted(NamedTuple):
    """What `SelfAdaptive` gives to ``losses.weighted_cross_entropy``.

    Attributes:
        target: Distributions, ``[b, K]``.
        weight: Weights, ``[b]``, with mean 1 over the batch.
    """

    target: Tensor
    weight: Tensor


@final
class SelfAdaptive(nn.Module):
    r"""Averaged predictions as in `SelfEnsemble`, each example weighted by how sure its average is.

    .. math:: t_i \leftarrow \alpha\, t_i + (1 - \alpha)\, p_i, \qquad
        w_i = \frac{\max_c t_{ic}}{\frac1b \sum_{j \in B} \max_c t_{jc}}

    with the mean over the batch of all processes. Until epoch ``start`` the target is the given label and the weight 1.

    Cost: that of cross-entropy. Memory: ``8 n K`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        start: Epochs on the given labels alone; the paper has 60 of 200.
        momentum: α in [0, 1); 0.9 is the paper's.

    References:
        Huang et al. (2020), arXiv 2002.10319, algorithm 1, and the authors' code.

    Example:
        >>> targets = SelfAdaptive(torch.tensor([0, 1]), 2, start=0, momentum=0.5)
        >>> targets.read(torch.tensor([0, 1]), torch.tensor([[9.0, -9.0], [0.0, 0.0]])).weight.tolist()
        [1.1428..., 0.8571...]
    """

    def __init__(self, labels: Tensor, num_classes: int, *, start: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.ensemble = SelfEnsemble(labels, num_classes, start=start, momentum=momentum)

    @torch.no_grad()
    def read(self, index: Tensor, logits: Tensor | None = None) -> Weighted:
        """Return targets and weights of ``index`` with this step in them; needs ``logits`` ``[b, K]``."""
        target = self.ensemble.read(index, logits)
        sure = target.amax(-1)
        total = sum_over_processes(torch.stack([sure.sum(), torch.ones_like(sure).sum()]))
        return Weighted(target, sure * (total[1] / total[0]))

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.ensemble.write(index, probabilities)

    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Average the staged predictions in, and count the epoch; see `Targets.end_epoch`."""
        return self.ensemble.end_epoch()

    def refined(self) -> Tensor:
        """Return the averages, ``[n, K]``."""
        return self.ensemble.refined()
