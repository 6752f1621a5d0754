"""Methods that change the loss: robust losses and corrections by a noise matrix.

All see the given labels alone and make one pass of the network per example and epoch, as cross-entropy does. Two cost
more: ``gce-truncated`` predicts the training set eight times in a run, and ``forward`` and ``backward``, where no noise
matrix is given, first train once with cross-entropy to estimate it: 2 times the cost of cross-entropy in all.

What differs from the papers: network, optimiser, schedule and epochs are those of all methods here. Patrini et al. keep
the epoch with the lowest loss on a noisy tenth held out, also for the training that the matrix is estimated from; here
the last epoch counts. The public code of Wang et al. puts the logarithm of 0 at -9.2; here it is -4, as in the paper.
"""

from __future__ import annotations

from torch import Tensor

from selfdistill import losses, targets
from selfdistill.train._method import Context, Method
from selfdistill.train._settings import Settings

__all__ = ["ROBUST_LOSSES"]


def _given(context: Context) -> targets.Given:
    return targets.Given(context.labels, context.num_classes)


def _predicted(context: Context) -> Tensor | None:
    return None if context.before is None else context.before.probabilities


def _estimate_first(settings: Settings) -> str | None:
    return "cross-entropy" if settings.noise_matrix is None else None


ROBUST_LOSSES: dict[str, Method] = {
    "bootstrap-soft": Method(
        _given,
        losses.bootstrap_soft,
        "the given label with weight .95, the own prediction with .05 (Reed et al. 2015)",
    ),
    "bootstrap-hard": Method(
        _given,
        losses.bootstrap_hard,
        "the given label with weight .8, the predicted class with .2 (Reed et al. 2015)",
    ),
    "forward": Method(
        lambda c: targets.Corrected.forward_of(c.labels, c.noise_matrix, _predicted(c)),
        losses.forward_corrected,
        "predictions go through a noise matrix, given or estimated (forward correction, Patrini et al. 2017)",
        first=_estimate_first,
        takes=frozenset({"noise_matrix"}),
    ),
    "backward": Method(
        lambda c: targets.Corrected.backward_of(c.labels, c.noise_matrix, _predicted(c)),
        losses.backward_corrected,
        "losses go through a noise matrix's inverse, given or estimated (backward correction, Patrini et al. 2017)",
        first=_estimate_first,
        takes=frozenset({"noise_matrix"}),
    ),
    "gce": Method(
        _given,
        losses.generalized_cross_entropy,
        "generalized cross-entropy, q = .7 (Zhang & Sabuncu 2018)",
    ),
    "gce-truncated": Method(
        lambda c: targets.Truncated(c.labels, c.num_classes),
        lambda logits, kept: losses.truncated_cross_entropy(logits, *kept),
        "generalized cross-entropy that drops labels with a probability below .5 (Zhang & Sabuncu 2018)",
        surveys=targets.refreshes,
    ),
    "sce": Method(
        _given,
        losses.symmetric_cross_entropy,
        "symmetric cross-entropy, .1 times cross-entropy plus its reverse (Wang et al. 2019)",
    ),
}
