r"""Bootstrapping: the given label and the own prediction of this very step (Reed et al. 2015, arXiv 1412.6596).

.. math:: \text{soft: } -\sum_c \bigl(\beta\, t_c + (1 - \beta)\, p_c\bigr) \log p_c
    = \beta\, H(t, p) + (1 - \beta)\, H(p), \qquad
    \text{hard: } -\sum_c \bigl(\beta\, t_c + (1 - \beta)\, [c = \arg\max p]\bigr) \log p_c

In the soft form the prediction is differentiated too: a network with a price on the entropy of its predictions. A
constant p in the mixture would only make the step smaller: its gradient in the logits is :math:`\beta\,(p - t)`.
Section 3.2; β is the paper's. Cost: that of cross-entropy.

Example:
    >>> import torch
    >>> z, t = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    >>> round(bootstrap_hard(z, t, 0.0).item(), 4), round(bootstrap_hard(z, t, 1.0).item(), 4)
    (0.3133, 1.3133)
    >>> round(bootstrap_soft(torch.zeros(1, 2), t).exp().item(), 4)
    2.0
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses import cross_entropy
from selfdistill.losses._cross_entropy import at_least_single
from selfdistill.rivals._method import Method, given_labels


def bootstrap_soft(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], given_weight: float = 0.95
) -> Float[Tensor, " b"]:
    """Cross-entropy to a mixture of target and prediction, one value per example, in nats; ``given_weight`` is β."""
    log_p = at_least_single(logits).log_softmax(-1)
    return -((given_weight * target + (1 - given_weight) * log_p.exp()) * log_p).sum(-1)


def bootstrap_hard(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], given_weight: float = 0.8
) -> Float[Tensor, " b"]:
    """Cross-entropy to a mixture of target and predicted class, one value per example, in nats."""
    own = -at_least_single(logits).log_softmax(-1).amax(-1)
    return given_weight * cross_entropy(logits, target) + (1 - given_weight) * own


METHODS = {
    "bootstrap-soft": Method(
        given_labels,
        bootstrap_soft,
        "the given label with weight .95, the own prediction with .05 (Reed et al. 2015)",
    ),
    "bootstrap-hard": Method(
        given_labels,
        bootstrap_hard,
        "the given label with weight .8, the predicted class with .2 (Reed et al. 2015)",
    ),
}
