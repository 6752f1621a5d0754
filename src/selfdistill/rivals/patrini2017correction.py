r"""Loss correction by a noise matrix, known or estimated at anchors (Patrini et al. 2017, arXiv 1609.03683).

*Forward* (theorem 2) is cross-entropy of the given label after the prediction went through the noise matrix; *backward*
(theorem 1) weighs the cross-entropies of all classes so that the mean over given labels is the loss on the true label:

.. math:: -\log \sum_c p_c\, T_{c, y}, \qquad -\sum_c (T^{-1})_{y, c}\, \log \max(p_c, 10^{-7})

The floor is in the authors' code; without it the second has no lower bound. Where the user gives no matrix, it is
estimated from a first training with cross-entropy, one example per class standing for it (theorem 3, algorithm 1):

.. math:: T_{c, j} = p_j(x_c), \qquad x_c = \text{the example where } p_c \text{ is at its 97th percentile}

The percentile instead of the maximum leaves out outliers; their code takes the largest value below it, as here. The
paper takes the maximum on CIFAR-100 alone; here it is taken for each class that has 6 % of the given labels or fewer,
since the examples at the percentile are then hardly or not at all of that class. A network that has memorised the
labels is sure of all of them, and the estimate is then near the identity.

What differs: Patrini et al. keep the epoch with the lowest loss on a noisy tenth held out, also for the training that
the matrix is estimated from; here the last epoch counts. Cost: that of cross-entropy, twice where the matrix is
estimated. Memory: ``8 n K + 4 K²`` bytes.

Example:
    >>> forward_targets(torch.tensor([1]), torch.tensor([[0.75, 0.25], [0.0, 1.0]])).read(torch.tensor([0]))
    tensor([[0.2500, 1.0000]])
    >>> p = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]])
    >>> anchor_matrix(p, torch.tensor([0, 0, 1])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    >>> round(forward_corrected(torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])).exp().item(), 4)
    2.0
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill._core.labels import normalised
from selfdistill.losses._cross_entropy import at_least_single
from selfdistill.rivals._method import Context, Method
from selfdistill.targets._base import LabelTargets

MOST_GROWTH = 100.0
"""An inverse that lets losses grow by more is refused: 89 % of symmetric noise in ten classes has 160."""

_FLOOR = 1e-7  # the authors' clamp on probabilities, of predictions and of an estimated matrix
_QUANTILE = 0.97
_RARE = 0.06  # twice the share above the quantile: a class as rare has its less certain half there, or none
_STEPS = 20


def forward_corrected(logits: Float[Tensor, "b k"], likelihood: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Forward loss; ``likelihood`` is ``T[:, y]`` of each given label, with an entry above 0. In nats, at least 0."""
    # In log space, over the column of the given label: b K work instead of the b K² of p T.
    log_p = at_least_single(logits).log_softmax(-1)
    return -(log_p + likelihood.detach().log()).logsumexp(-1)


def backward_corrected(logits: Float[Tensor, "b k"], weights: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Backward loss; ``weights`` is row y of the inverse matrix, some of it negative. In nats, of any sign."""
    log_p = at_least_single(logits).log_softmax(-1).clamp(min=math.log(_FLOOR))
    return -(weights.detach() * log_p).sum(-1)


def anchor_matrix(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Estimate ``T[clean, given]``, float64 ``[K, K]``, from predictions of given labels; K sorts of n numbers."""
    n, k = probabilities.shape
    share = torch.bincount(labels, minlength=k) / n
    below = max(math.ceil(_QUANTILE * (n - 1)) - 1, 0)
    anchors = [int(probabilities[:, c].argsort(stable=True)[n - 1 if share[c] <= _RARE else below]) for c in range(k)]
    return normalised(probabilities[anchors].double().clamp(min=_FLOOR))


def growth(noise: Tensor) -> float:
    r"""Say how much larger than a loss its backward correction can get; infinite where T is singular."""
    # max_y sum_c |(T^-1)_{y,c}|: since rows of T sum to 1, this is T's condition number in the maximum norm.
    inverse, failed = torch.linalg.inv_ex(noise.double())
    value = inverse.abs().sum(1).max().item()
    return float("inf") if bool(failed) or value != value else value


def conditioned(noise: Tensor, most: float = MOST_GROWTH) -> tuple[Tensor, float]:
    """Mix an estimated matrix with the identity, by the first of 0, .05, ... 1 after which ``growth`` is acceptable."""
    # The paper's way out for an estimate, remark on theorem 1.
    identity = torch.eye(len(noise), dtype=torch.float64, device=noise.device)
    mixtures = (((1 - step / _STEPS) * noise.double() + step / _STEPS * identity, step) for step in range(_STEPS))
    return next(((mixed, step / _STEPS) for mixed, step in mixtures if growth(mixed) <= most), (identity, 1.0))


@final
class LabelRows(LabelTargets[Tensor]):
    """A row of numbers for each given label, the same for all examples that share it; ``rows`` is ``[K, K]``."""

    rows: Tensor
    identity_share: Tensor

    def __init__(self, labels: Tensor, rows: Tensor, *, identity_share: float = 0.0) -> None:
        super().__init__(labels, len(rows))
        self.register_buffer("rows", rows.float().contiguous())
        self.register_buffer("identity_share", torch.tensor(identity_share))  # what `conditioned` mixed in

    def read(self, index: Tensor, logits: Tensor | None = None) -> Tensor:
        """Return the rows of the given labels of ``index``, ``[b, K]``."""
        return self.rows[self.labels[index]]


def forward_targets(labels: Tensor, noise: Tensor | None, probabilities: Tensor | None = None) -> LabelRows:
    """Build the targets of `forward_corrected`; a matrix of ``None`` is estimated from ``probabilities``."""
    matrix = _estimated(labels, probabilities) if noise is None else noise
    there = torch.bincount(labels, minlength=len(matrix))
    impossible = (there > 0) & (matrix <= 0).all(0)
    if bool(impossible.any()):
        label = int(impossible.nonzero()[0])
        raise SettingError(
            f"column {label} of the noise matrix is all 0, but {int(there[label])} examples have that label",
            "Give the label some probability, at least in its own row.",
        )
    return LabelRows(labels, matrix.T)


def backward_targets(labels: Tensor, noise: Tensor | None, probabilities: Tensor | None = None) -> LabelRows:
    """Build the targets of `backward_corrected`; a given matrix that is nearly singular is refused."""
    if noise is None:
        matrix, share = conditioned(_estimated(labels, probabilities))
    else:
        matrix, share, found = noise, 0.0, growth(noise)
        if found > MOST_GROWTH:
            raise SettingError(
                f"the inverse of the noise matrix lets losses grow {found:.3g} times, but {MOST_GROWTH:g} is the "
                "most: it is singular, or nearly so",
                "Train with method 'forward', which needs no inverse, or mix the matrix with the identity.",
            )
    return LabelRows(labels, torch.linalg.inv(matrix.double()), identity_share=share)


def _estimated(labels: Tensor, probabilities: Tensor | None) -> Tensor:
    if probabilities is None:
        raise SettingError("no noise matrix is given, and no predictions to estimate it from", "Pass one of them.")
    return anchor_matrix(probabilities, labels)


def _predicted(context: Context) -> Tensor | None:
    return None if context.first_stage is None else context.first_stage.probabilities


METHODS = {
    "forward": Method(
        lambda c: forward_targets(c.labels, c.noise_matrix, _predicted(c)),
        forward_corrected,
        "predictions go through a noise matrix, given or estimated (forward correction, Patrini et al. 2017)",
        first="cross-entropy",
        takes=frozenset({"noise_matrix"}),
    ),
    "backward": Method(
        lambda c: backward_targets(c.labels, c.noise_matrix, _predicted(c)),
        backward_corrected,
        "losses go through a noise matrix's inverse, given or estimated (backward correction, Patrini et al. 2017)",
        first="cross-entropy",
        takes=frozenset({"noise_matrix"}),
    ),
}
