"""Given labels of which some are left out: the truncated loss of Zhang & Sabuncu (2018, arXiv 1805.07836)."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.targets._given import Given

__all__ = ["Kept", "Truncated", "refreshes"]


class Kept(NamedTuple):
    """What `losses.truncated_cross_entropy` takes besides the logits.

    Attributes:
        given: The given labels one-hot, ``[b, K]``.
        kept: Which examples still pull, bool ``[b]``.
    """

    given: Tensor
    kept: Tensor


def refreshes(epoch: int, epochs: int) -> bool:
    """Say whether the kept set is refreshed after an epoch: after a third of them, then each twelfth.

    These are the paper's 40, 50, 60, ... of 120 epochs (CIFAR-10; it starts at 80 of 150 on CIFAR-100), as shares of
    the run. After the last epoch nothing would be trained on the new set.

    Args:
        epoch: The epoch just done, counted from 0.
        epochs: Epochs in all.

    Returns:
        Whether to predict the training set.

    References:
        Zhang & Sabuncu (2018), arXiv 1805.07836, section 4.

    Example:
        >>> [epoch + 1 for epoch in range(120) if refreshes(epoch, 120)]
        [40, 50, 60, 70, 80, 90, 100, 110]
    """
    done = 12 * (epoch + 1) // epochs
    return 4 <= done < 12 and done > 12 * epoch // epochs


@final
class Truncated(nn.Module):
    r"""The given label, one-hot, and whether the example is kept.

    All are kept at first. `survey` takes predictions of the whole training set; from the end of that epoch on, exactly
    those are kept whose given label got a probability above k:

    .. math:: w_i = [\,p_i(y_i) > k\,] = [\,L_q(p_i) < L_q(k)\,]

    An example that was dropped can come back. The predictions are those of the network as it is; the paper takes its
    best epoch on validation data, and public code the best on test data. Where the network is sure of no given label,
    nothing is kept and learning ends: so it is with the paper's rule.

    Cost: eight predictions of the training set in a run of 12 epochs or more, a third of a training pass each: 2 % over
    cross-entropy at 120 epochs, 9 % at 30. Merge over processes: the surveys' mean (`SampleMean`). Memory: ``8 n K + 21
    n`` bytes, of which 9 n for the kept set and the rest, as in `Given`, for labels and the record of predictions.

    Args:
        labels: Given labels y, int64 ``[n]``.
        num_classes: K.
        threshold: k in [0, 1); 0.5 is the paper's.

    Raises:
        SettingError: ``threshold`` out of range.

    References:
        Zhang & Sabuncu (2018), arXiv 1805.07836, section 3.3 and algorithm 1.

    Example:
        >>> targets = Truncated(torch.tensor([0, 1]), 2)
        >>> targets.survey(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
        >>> _ = targets.end_epoch()
        >>> targets.read(torch.tensor([0, 1])).kept.tolist()
        [True, False]
    """

    kept: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise SettingError(f"threshold is {threshold}, but must be in [0, 1)", "0.5 is the paper's.")
        self.threshold = threshold
        self.given = Given(labels, num_classes)
        self.surveyed = SampleMean(len(labels), 1)
        self.register_buffer("kept", torch.ones(len(labels), dtype=torch.bool))

    def read(self, index: Tensor, logits: Tensor | None = None) -> Kept:
        """Return the given labels of ``index`` and which are kept; ``logits`` are not looked at."""
        return Kept(self.given.read(index), self.kept[index])

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Stage predictions ``[b, K]``; they are kept for `refined` only."""
        self.given.write(index, probabilities)

    def survey(self, probabilities: Tensor) -> None:
        """Stage predictions of the whole training set, ``[n, K]``, for the next kept set."""
        of_given = probabilities.gather(1, self.given.labels[:, None])
        self.surveyed.stage(torch.arange(len(of_given), device=of_given.device), of_given)

    @torch.no_grad()
    def end_epoch(self) -> tuple[Tensor, Tensor]:
        """Commit the predictions and, after a survey, the kept set; see `Targets.end_epoch`."""
        of_given, surveyed = self.surveyed.merge()
        self.kept.copy_(torch.where(surveyed, of_given[:, 0] > self.threshold, self.kept))
        return self.given.end_epoch()

    def refined(self) -> Tensor:
        """Return the last epoch's predictions on the training set, ``[n, K]``."""
        return self.given.refined()
