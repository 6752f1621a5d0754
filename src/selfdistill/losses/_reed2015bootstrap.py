"""Bootstrapping (Reed et al. 2015, arXiv 1412.6596): the given label and the own prediction of this very step."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._cross_entropy import cross_entropy
from selfdistill.losses._precision import at_least_single

__all__ = ["bootstrap_hard", "bootstrap_soft"]


def bootstrap_soft(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], given_weight: float = 0.95
) -> Float[Tensor, " b"]:
    r"""Cross-entropy to a mixture of the target and the prediction, which is differentiated too.

    .. math:: -\sum_c \bigl(\beta\, t_c + (1 - \beta)\, p_c\bigr) \log p_c = \beta\, H(t, p) + (1 - \beta)\, H(p)

    The second form is the paper's reading: a network with a price on the entropy of its predictions. A constant p in
    the mixture would only make the step smaller: its gradient in the logits is :math:`\beta\,(p - t)`.

    Cost: one pass, as cross-entropy. No per-sample state.

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.
        given_weight: β in [0, 1]; 0.95 is the paper's, 1 is cross-entropy.

    Returns:
        One value per example, in nats.

    References:
        Reed et al. (2015), arXiv 1412.6596, section 3.2, the soft objective.

    Example:
        >>> import torch
        >>> round(bootstrap_soft(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).exp().item(), 4)
        2.0
    """
    log_p = at_least_single(logits).log_softmax(-1)
    return -((given_weight * target + (1 - given_weight) * log_p.exp()) * log_p).sum(-1)


def bootstrap_hard(
    logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"], given_weight: float = 0.8
) -> Float[Tensor, " b"]:
    r"""Cross-entropy to a mixture of the target and the predicted class.

    .. math:: -\sum_c \bigl(\beta\, t_c + (1 - \beta)\, [c = \arg\max p]\bigr) \log p_c

    Cost: one pass, as cross-entropy. No per-sample state.

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.
        given_weight: β in [0, 1]; 0.8 is the paper's, 1 is cross-entropy.

    Returns:
        One value per example, in nats.

    References:
        Reed et al. (2015), arXiv 1412.6596, section 3.2, the hard objective.

    Example:
        >>> import torch
        >>> z, t = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> round(bootstrap_hard(z, t, 0.0).item(), 4), round(bootstrap_hard(z, t, 1.0).item(), 4)
        (0.3133, 1.3133)
    """
    own = -at_least_single(logits).log_softmax(-1).amax(-1)
    return given_weight * cross_entropy(logits, target) + (1 - given_weight) * own
