"""Joint optimisation of weights and labels, its labels (Tanaka et al. 2018, arXiv 1803.11364)."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._protocol import one_hot

__all__ = ["JointLabels", "Labelled"]


class Labelled(NamedTuple):
    """What `JointLabels` gives to ``losses.joint_optimization``.

    Attributes:
        target: Labels of the batch as distributions, ``[b, K]``.
        prior: Shares of the classes, ``[K]``.
    """

    target: Tensor
    prior: Tensor


@final
class JointLabels(nn.Module):
    r"""The given label for some epochs, then the mean of the last epochs' predictions, made anew after each.

    .. math:: t_i = e_{y_i} \ \text{up to epoch } b, \qquad t_i = \frac1w \sum_{j=0}^{w-1} p_i^{(k-j)} \ \text{after it}

    What differs: the authors' b is epoch 70 of 200 and their w is 10 epochs; here b is 0.35 and w is 0.05 of the
    epochs, w at least 1. Their prior is the distribution of the classes, even on CIFAR-10; here it is that of the given
    labels, for no other is known. They train with one large step size; here the schedule is the one of all methods.

    Cost: that of cross-entropy. Memory: ``4 n K (w + 2)`` bytes.

    Args:
        labels: Given labels, int64 ``[n]``.
        num_classes: K.
        epochs: Epochs of the training.
        begin: Share of the epochs on the given labels.
        window: Share of the epochs whose predictions are averaged.

    Raises:
        SettingError: ``epochs`` below 1, or a share outside [0, 1].

    References:
        Tanaka et al. (2018), arXiv 1803.11364 (soft labels), and the authors' code for b and w.

    Example:
        >>> targets = JointLabels(torch.tensor([0]), 2, epochs=1)
        >>> targets.write(torch.tensor([0]), torch.tensor([[0.25, 0.75]]))
        >>> _ = targets.end_epoch()
        >>> targets.read(torch.tensor([0])).target.tolist()
        [[0.25, 0.75]]
    """

    value: Tensor
    prior: Tensor
    recent: Tensor
    epoch: Tensor

    def __init__(
        self, labels: Tensor, num_classes: int, *, epochs: int, begin: float = 0.35, window: float = 0.05
    ) -> None:
        super().__init__()
        if epochs < 1:
            raise SettingError(f"epochs is {epochs}, but must be at least 1", "Pass the number of epochs of the run.")
        for name, share in (("begin", begin), ("window", window)):
            if not 0 <= share <= 1:
                raise SettingError(f"{name} is {share}, but must be in [0, 1]", "It is a share of the epochs.")
        width = max(1, round(window * epochs))
        self.begin = max(width, round(begin * epochs))
        self.register_buffer("value", one_hot(labels, num_classes))
        self.register_buffer("prior", torch.bincount(labels, minlength=num_classes) / len(labels))
        self.register_buffer("recent", torch.zeros(width, len(labels), num_classes))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.staged = SampleMean(len(labels), num_classes)

    def read(self, index: Tensor, logits: Tensor | None = None) -> Labelled:
        """Return the labels of ``index`` and the prior; ``logits`` are not looked at."""
        return Labelled(self.value[index], self.prior)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``."""
        self.staged.stage(index, probabilities)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Put the predictions in the place of the oldest, and make the labels anew; see `Targets.end_epoch`."""
        mean, written = self.staged.merge()
        self.recent[int(self.epoch) % len(self.recent)] = torch.where(written[:, None], mean, self.value)
        self.epoch += 1
        if int(self.epoch) >= self.begin:
            self.value.copy_(self.recent.mean(0))
        return mean, written

    def refined(self) -> Tensor:
        """Return the labels, ``[n, K]``."""
        return self.value
