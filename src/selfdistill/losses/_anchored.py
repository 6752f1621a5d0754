"""The loss of the default method: match a target, and stay near the memory of early learning."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._cross_entropy import cross_entropy
from selfdistill.losses._liu2020elr import ELR_FLOOR, elr_term

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
        >>> import torch
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(anchored_cross_entropy(torch.zeros(1, 2), (t, t, 1.0)).item(), 4)
        9.2103
    """
    target, memory, strength = anchored
    return cross_entropy(logits, target) + strength * (elr_term(logits, memory) - math.log(ELR_FLOOR))
