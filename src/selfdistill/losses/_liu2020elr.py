"""Early-learning regularisation (Liu et al. 2020, arXiv 2007.00151): its regulariser and its loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._cross_entropy import cross_entropy
from selfdistill.losses._precision import at_least_single

__all__ = ["ELR_FLOOR", "early_learning_regularized", "elr_term"]

ELR_FLOOR = 1e-4  # the authors' clamp on probabilities; it bounds the term by log(ELR_FLOOR)


def elr_term(logits: Float[Tensor, "b k"], memory: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Pull predictions towards the memory of early learning.

    .. math:: \log(1 - \langle p, m \rangle), \qquad p = \mathrm{clamp}(\mathrm{softmax}(z), 10^{-4}, 1 - 10^{-4})

    The inner product is kept below :math:`1 - 10^{-4}`, so that the value stays finite where both are one-hot.

    Args:
        logits: Network outputs z, ``[b, K]``.
        memory: Averaged predictions m, ``[b, K]``, rows sum to at most 1. Not differentiated.

    Returns:
        One value per example, in [log 1e-4, 0].

    References:
        Liu et al. (2020), arXiv 2007.00151, eq. 6 and the authors' code for the clamp.

    Example:
        >>> round(elr_term(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).exp().item(), 4)
        0.5
    """
    p = at_least_single(logits).softmax(-1).clamp(ELR_FLOOR, 1 - ELR_FLOOR)
    return torch.log1p(-(p * memory.detach()).sum(-1).clamp(max=1 - ELR_FLOOR))


def early_learning_regularized(
    logits: Float[Tensor, "b k"],
    remembered: tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]],
    strength: float = 3.0,
) -> Float[Tensor, " b"]:
    r"""Cross-entropy to the given label plus the weighted `elr_term`.

    .. math:: -\sum_c t_c \log p_c + \lambda \log(1 - \langle p, m \rangle)

    Args:
        logits: Network outputs, ``[b, K]``.
        remembered: Given labels t as distributions ``[b, K]``; averaged predictions m, this step's included,
            ``[b, K]``, see ``targets.EarlyLearning``.
        strength: λ; 3 is the paper's for CIFAR-10 with symmetric noise.

    Returns:
        One value per example, at least λ log 1e-4; negative where an example is fitted.

    References:
        Liu et al. (2020), arXiv 2007.00151, eq. 6.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(early_learning_regularized(torch.zeros(1, 2), (t, 0 * t)).item(), 4)
        0.6931
    """
    target, memory = remembered
    return cross_entropy(logits, target) + strength * elr_term(logits, memory)
