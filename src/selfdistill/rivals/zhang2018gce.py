r"""Generalized cross-entropy, and its truncated form (Zhang & Sabuncu 2018, arXiv 1805.07836).

The loss L_q itself is `losses.generalized_cross_entropy`, with the paper's q = 0.7. Its truncated form (section 3.3,
algorithm 1) is :math:`\min(L_q(p), L_q(k))` with k = 0.5: only those examples pull whose given label the network gives
a probability above k,

.. math:: w_i\, L_q(p_i) + (1 - w_i)\, L_q(k), \qquad w_i = [\,p_i(y_i) > k\,]

All are kept at first. After a third of the epochs, then after each twelfth, the training set is predicted and w made
anew: the paper's 40, 50, 60, ... of 120 epochs (CIFAR-10; it starts at 80 of 150 on CIFAR-100), as shares of the run.
An example that was dropped can come back. Where the network is sure of no given label, nothing is kept and learning
ends: so it is with the paper's rule.

What differs: the predictions are those of the network as it is; the paper takes its best epoch on validation data, and
public code the best on test data.

Cost: that of cross-entropy; the truncated form predicts the training set eight times in a run of 12 epochs or more, a
third of a training pass each: 2 % at 120 epochs, 9 % at 30. Memory: ``8 n K + 21 n`` bytes.

Example:
    >>> t = torch.tensor([[1.0, 0.0]])
    >>> kept, dropped = torch.tensor([True]), torch.tensor([False])
    >>> [truncated_cross_entropy(torch.zeros(1, 2), t, w, 1.0, 0.75).item() for w in (kept, dropped)]
    [0.5, 0.25]
    >>> [epoch + 1 for epoch in range(120) if refreshes(epoch, 120)]
    [40, 50, 60, 70, 80, 90, 100, 110]
    >>> targets = Truncated(torch.tensor([0, 1]), 2)
    >>> targets.take_train_predictions(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
    >>> targets.write(torch.tensor([0]), torch.tensor([[0.5, 0.5]]))
    >>> _ = targets.end_epoch()
    >>> targets.read(torch.tensor([0, 1])).kept.tolist()
    [True, False]
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.sample_mean import SampleMean
from selfdistill.losses import generalized_cross_entropy
from selfdistill.rivals._method import Method, given_labels
from selfdistill.targets._base import LabelTargets


def truncated_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    kept: Bool[Tensor, " b"],
    q: float = 0.7,
    threshold: float = 0.5,
) -> Float[Tensor, " b"]:
    """Generalized cross-entropy of the kept examples, and a constant for the others, which then pull no more."""
    dropped = (1 - threshold**q) / q
    return torch.where(kept, generalized_cross_entropy(logits, target, q), dropped)


class TruncatedTarget(NamedTuple):
    """The given labels one-hot, ``[b, K]``, and which examples still pull, bool ``[b]``."""

    given: Tensor
    kept: Tensor


def refreshes(epoch: int, epochs: int) -> bool:
    """Say whether the kept set is made anew after an epoch, counted from 0; not after the last."""
    done = 12 * (epoch + 1) // epochs
    return 4 <= done < 12 and done > 12 * epoch // epochs


@final
class Truncated(LabelTargets[TruncatedTarget]):
    """The given label, one-hot, and whether the example is kept; ``threshold`` is k in [0, 1)."""

    kept: Tensor

    def __init__(self, labels: Tensor, num_classes: int, *, threshold: float = 0.5) -> None:
        if not 0 <= threshold < 1:
            raise SettingError(f"threshold is {threshold}, but must be in [0, 1)", "0.5 is the paper's.")
        super().__init__(labels, num_classes)
        self.threshold = threshold
        self.predicted = SampleMean(len(labels), 1)
        self.register_buffer("kept", torch.ones(len(labels), dtype=torch.bool))

    def read(self, index: Tensor, logits: Tensor | None = None) -> TruncatedTarget:
        """Return the given labels of ``index`` and which are kept."""
        return TruncatedTarget(self.given(index), self.kept[index])

    def take_train_predictions(self, probabilities: Tensor) -> None:
        """Stage predictions of the whole training set, ``[n, K]``, for the next kept set."""
        of_given = probabilities.gather(1, self.labels[:, None])
        self.predicted.stage(torch.arange(len(of_given), device=of_given.device), of_given)

    def commit(self, mean: Tensor, written: Tensor) -> None:
        """Commit the predictions and, where the training set was predicted, the kept set."""
        of_given, predicted = self.predicted.merge()
        self.kept.copy_(torch.where(predicted, of_given[:, 0] > self.threshold, self.kept))
        super().commit(mean, written)


METHODS = {
    "gce": Method(
        given_labels,
        generalized_cross_entropy,
        "generalized cross-entropy, q = .7 (Zhang & Sabuncu 2018)",
    ),
    "gce-truncated": Method(
        lambda c: Truncated(c.labels, c.num_classes),
        lambda logits, target: truncated_cross_entropy(logits, *target),
        "generalized cross-entropy that drops labels with a probability below .5 (Zhang & Sabuncu 2018)",
        needs_train_predictions=refreshes,
    ),
}
