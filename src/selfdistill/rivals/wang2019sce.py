r"""Symmetric cross-entropy: cross-entropy plus its reverse (Wang et al. 2019, arXiv 1908.06112, eq. 8).

.. math:: \alpha\, H(t, p) + \beta\, H(p, t), \qquad H(p, t) = -\sum_c p_c \max(\log t_c, A)

α = 0.1 is the paper's for CIFAR-10. A stands for log 0: −4 as in the paper; the public code has −9.2. Cost: that of
cross-entropy.

Example:
    >>> import torch
    >>> t = torch.tensor([[1.0, 0.0]])
    >>> round(symmetric_cross_entropy(torch.zeros(1, 2), t, alpha=0.0).item(), 4)
    2.0
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses import cross_entropy
from selfdistill.losses._cross_entropy import at_least_single
from selfdistill.rivals._method import Method, given_labels


def symmetric_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b k"],
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> Float[Tensor, " b"]:
    """Cross-entropy plus reverse cross-entropy to a distribution, one value per example; ``log_zero`` is A."""
    reverse = -(at_least_single(logits).softmax(-1) * target.log().clamp(min=log_zero)).sum(-1)
    return alpha * cross_entropy(logits, target) + beta * reverse


METHODS = {
    "sce": Method(
        given_labels,
        symmetric_cross_entropy,
        "symmetric cross-entropy, .1 times cross-entropy plus its reverse (Wang et al. 2019)",
    ),
}
