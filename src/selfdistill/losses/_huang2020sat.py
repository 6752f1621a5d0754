"""The loss of self-adaptive training (Huang et al. 2020, arXiv 2002.10319)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._cross_entropy import cross_entropy

__all__ = ["weighted_cross_entropy"]


def weighted_cross_entropy(
    logits: Float[Tensor, "b k"], weighted: tuple[Float[Tensor, "b k"], Float[Tensor, " b"]]
) -> Float[Tensor, " b"]:
    r"""Cross-entropy with a weight for each example.

    .. math:: -w \sum_c t_c \log \mathrm{softmax}(z)_c

    Args:
        logits: Network outputs z, ``[b, K]``.
        weighted: Distributions t ``[b, K]`` and weights w ``[b]``, see ``targets.SelfAdaptive``.

    Returns:
        One value per example, in nats.

    References:
        Huang et al. (2020), arXiv 2002.10319, algorithm 1.

    Example:
        >>> import torch
        >>> value = weighted_cross_entropy(torch.zeros(1, 4), (torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([0.5])))
        >>> round(value.item(), 4)
        0.6931
    """
    target, weight = weighted
    return weight * cross_entropy(logits, target)
