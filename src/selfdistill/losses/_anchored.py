"""The loss of the default method: match a target, and stay near the memory of early learning."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._liu2020elr import ELR_FLOOR
from selfdistill.losses._precision import at_least_single

__all__ = ["anchored_cross_entropy"]


def anchored_cross_entropy(
    logits: Float[Tensor, "b k"], anchored: tuple[Tensor, Tensor, Tensor | float]
) -> Float[Tensor, " b"]:
    r"""Cross-entropy to a target plus a weighted pull towards the memory.

    .. math:: -\sum_c t_c \log p_c + \lambda \log\frac{1 - \langle p, m \rangle}{10^{-4}}

    The constant changes no gradient; it makes 0 the least value of the second term, see `elr_term`.

    Args:
        logits: Network outputs, ``[b, K]``.
        anchored: Target distributions t ``[b, K]``, averaged predictions m ``[b, K]``, and λ, one number.

    Returns:
        One value per example, at least 0.

    References:
        Liu et al. (2020), arXiv 2007.00151, eq. 6, with a target in the place of the given label.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(anchored_cross_entropy(torch.zeros(1, 2), (t, t, 1.0)).item(), 4)
        9.2103
    """
    target, memory, strength = anchored
    # As cross_entropy + strength * elr_term, but with one softmax for both.
    log_p = at_least_single(logits).log_softmax(-1)
    p = log_p.exp().clamp(ELR_FLOOR, 1 - ELR_FLOOR)
    pull = torch.log1p(-(p * memory.detach()).sum(-1).clamp(max=1 - ELR_FLOOR)) - math.log(ELR_FLOOR)
    return strength * pull - (target * log_p).sum(-1)
