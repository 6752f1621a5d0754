"""What each example's label went through: when it was first learned, and how often forgotten (arXiv 1812.05159)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from selfdistill._core.row_blocks import row_blocks

_FLOOR = 1e-12  # a probability that underflows counts as this


@final
class LearningDynamics(nn.Module):
    """First-learned epoch, forgetting events and mean probability of each given label, updated once an epoch."""

    # An example is learned in an epoch when the mean prediction of that epoch has its argmax at the given label, and
    # forgotten when it was learned in the epoch before and is not in this one (Toneva et al. 2019, arXiv 1812.05159,
    # section 2). ``mean_given`` is the geometric mean exp(1/E sum_k log p_k(y)); its arithmetic counterpart is the
    # confidence of Swayamdipta et al. (2020), arXiv 2009.10795. The logarithm keeps early doubt in sight after an error
    # has been memorised. ``mean_margin`` is the mean over the epochs of log p(y) - log max_{c != y} p(c), as the area
    # under the margin of Pleiss et al. (2020), arXiv 2001.10528, eq. 2, but of log-probabilities. ``changed`` counts
    # the examples whose predicted class is another than in the epoch before: its first minimum marks where a network
    # begins to fit single labels (Yuan, Feng & Liu 2024, ICLR, "Label Wave"). Every process updates from predictions
    # that are already merged, so the buffers need no merge of their own.

    labels: Tensor
    epoch: Tensor
    first_learned: Tensor
    forgotten: Tensor
    learned: Tensor
    given_total: Tensor
    margin_total: Tensor
    seen: Tensor
    predicted: Tensor
    changed: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        n = len(labels)
        self.register_buffer("labels", labels.clone())
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("first_learned", torch.full((n,), -1, dtype=torch.int32))
        self.register_buffer("forgotten", torch.zeros(n, dtype=torch.int32))
        self.register_buffer("learned", torch.zeros(n, dtype=torch.bool))
        self.register_buffer("given_total", torch.zeros(n))
        self.register_buffer("margin_total", torch.zeros(n))
        self.register_buffer("seen", torch.zeros(n))
        self.register_buffer("predicted", torch.full((n,), -1, dtype=torch.int32))
        self.register_buffer("changed", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, mean: Tensor, written: Tensor) -> None:
        """Take one epoch's mean predictions ``[n, K]``; examples that were not ``written`` stay as they are."""
        predicted = mean.argmax(-1).int()
        now = (predicted == self.labels) & written
        self.changed.copy_(((predicted != self.predicted) & written).sum())
        self.predicted.copy_(torch.where(written, predicted, self.predicted))
        self.first_learned[now & (self.first_learned < 0)] = int(self.epoch)
        self.forgotten += (self.learned & ~now & written).int()
        self.learned.copy_(torch.where(written, now, self.learned))
        own = mean.gather(1, self.labels[:, None])[:, 0].clamp(min=_FLOOR).log()
        blocks = row_blocks(*mean.shape)
        others = [mean[rows].scatter(1, self.labels[rows, None], 0.0).amax(1) for rows in blocks]
        other = torch.cat(others).clamp(min=_FLOOR).log()
        self.given_total += own * written
        self.margin_total += (own - other) * written
        self.seen += written
        self.epoch += 1

    def mean_given(self) -> Tensor:
        """Return the geometric mean over epochs of the given label's probability, ``[n]``, 0 to 1; 1 if never seen."""
        return (self.given_total / self.seen.clamp(min=1)).exp()

    def mean_margin(self) -> Tensor:
        """Return the mean over epochs of the given label's log-probability less the likeliest other's, ``[n]``."""
        return self.margin_total / self.seen.clamp(min=1)
