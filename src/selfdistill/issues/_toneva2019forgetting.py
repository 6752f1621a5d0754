"""What each example's label went through: when it was first learned, and how often forgotten (arXiv 1812.05159)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

__all__ = ["LearningDynamics"]


@final
class LearningDynamics(nn.Module):
    r"""First-learned epoch, forgetting events and mean probability of each given label, updated once an epoch.

    An example is learned in an epoch when the mean prediction of that epoch has its argmax at the given label, and
    forgotten when it was learned in the epoch before and is not in this one. ``mean_given`` is
    :math:`\frac1E\sum_k \bar p^{(k)}_i(y_i)`, the confidence of Swayamdipta et al. (2020), arXiv 2009.10795.

    Every process updates from predictions that are already merged, so the buffers need no merge of their own.

    Args:
        labels: Given labels, int64 ``[n]``.

    References:
        Toneva et al. (2019), arXiv 1812.05159, definitions in section 2.

    Example:
        >>> dynamics = LearningDynamics(torch.tensor([0]))
        >>> for p in ([0.4, 0.6], [0.9, 0.1], [0.2, 0.8]):
        ...     dynamics.update(torch.tensor([p]), torch.tensor([True]))
        >>> dynamics.first_learned.tolist(), dynamics.forgotten.tolist(), dynamics.mean_given().tolist()
        ([1], [1], [0.5])
    """

    labels: Tensor
    epoch: Tensor
    first_learned: Tensor
    forgotten: Tensor
    learned: Tensor
    given_total: Tensor
    seen: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        n = len(labels)
        self.register_buffer("labels", labels.clone())
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("first_learned", torch.full((n,), -1, dtype=torch.int32))
        self.register_buffer("forgotten", torch.zeros(n, dtype=torch.int32))
        self.register_buffer("learned", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("given_total", torch.zeros(n))
        self.register_buffer("seen", torch.zeros(n))

    @torch.no_grad()
    def update(self, mean: Tensor, written: Tensor) -> None:
        """Take one epoch's mean predictions.

        Args:
            mean: ``[n, K]``.
            written: Which examples were seen, bool ``[n]``; the others keep their state.
        """
        now = (mean.argmax(-1) == self.labels) & written
        self.first_learned[now & (self.first_learned < 0)] = int(self.epoch)
        self.forgotten += (self.learned & ~now & written).int()
        self.learned.copy_(torch.where(written, now, self.learned))
        self.given_total += mean.gather(1, self.labels[:, None])[:, 0] * written
        self.seen += written
        self.epoch += 1

    def mean_given(self) -> Tensor:
        """Return the mean over epochs of the probability of the given label, ``[n]``, 0 to 1."""
        return self.given_total / self.seen.clamp(min=1)
