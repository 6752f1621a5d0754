"""Loss correction by a noise matrix (Patrini et al. 2017, arXiv 1609.03683)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["backward_corrected", "forward_corrected"]

_FLOOR = math.log(1e-7)  # the authors' clamp on probabilities; without it the loss has no lower bound


def forward_corrected(logits: Float[Tensor, "b k"], likelihood: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Cross-entropy of the given label after the prediction went through the noise matrix.

    .. math:: -\log \sum_c p_c\, T_{c, y}

    In log space, over the column of T that belongs to the given label: ``b K`` work instead of the ``b K²`` of p T.

    Cost: one pass, as cross-entropy. No per-sample state.

    Args:
        logits: Network outputs, ``[b, K]``.
        likelihood: Probability of the given label if class c is right, ``T[:, y]``, ``[b, K]``; each row has an entry
            above 0.

    Returns:
        One value per example, in nats, at least 0.

    References:
        Patrini et al. (2017), arXiv 1609.03683, theorem 2.

    Example:
        >>> import torch
        >>> round(forward_corrected(torch.zeros(1, 2), torch.tensor([[0.75, 0.25]])).exp().item(), 4)
        2.0
    """
    log_p = at_least_single(logits).log_softmax(-1)
    return -(log_p + likelihood.detach().log()).logsumexp(-1)


def backward_corrected(logits: Float[Tensor, "b k"], weights: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Cross-entropies of all classes, weighted so that the mean over given labels is the loss on the true label.

    .. math:: -\sum_c (T^{-1})_{y, c}\, \log \max(p_c, 10^{-7})

    Some weights are negative, so the value may be; the floor, which the authors' code has and theory does not need,
    bounds it.

    Cost: one pass, as cross-entropy. No per-sample state.

    Args:
        logits: Network outputs, ``[b, K]``.
        weights: Row of the inverse noise matrix that belongs to the given label, ``[b, K]``; rows sum to 1.

    Returns:
        One value per example, in nats, of any sign.

    References:
        Patrini et al. (2017), arXiv 1609.03683, theorem 1.

    Example:
        >>> import torch
        >>> round(backward_corrected(torch.zeros(1, 2), torch.tensor([[1.5, -0.5]])).exp().item(), 4)
        2.0
    """
    log_p = at_least_single(logits).log_softmax(-1).clamp(min=_FLOOR)
    return -(weights.detach() * log_p).sum(-1)
