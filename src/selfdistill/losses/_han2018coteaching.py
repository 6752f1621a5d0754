"""The loss of co-teaching (Han et al. 2018, arXiv 1804.06872)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._pair import each_cross_entropy

__all__ = ["co_teaching"]

_ROUNDING = 1e-4  # in float32, (1 - 0.33) * 100 is a little below 67


def co_teaching(logits: Float[Tensor, "b 2 k"], target: tuple[Tensor, Tensor]) -> Float[Tensor, " b"]:
    r"""Cross-entropy of two networks, each on the examples of the batch that the other finds easiest.

    With losses :math:`\ell_{ij}` of example i under network j, :math:`R = \max(1, \lfloor (1 - f)\, b \rfloor)` and
    :math:`S_j` the R examples of least :math:`\ell_{ij}` (of equal ones the first):

    .. math:: v_i = \frac{b}{R} \left([i \in S_2]\, \ell_{i1} + [i \in S_1]\, \ell_{i2}\right)

    so that the mean over the batch is the sum of both networks' mean losses over what they keep. The selection is not
    differentiated. R is rounded down as in the authors' code; the paper's "at least" would round up. Over several
    processes each selects within its own share of the batch.

    The authors' code divides the mean over the kept examples by R once more, which goes unnoticed under Adam and is
    left out here.

    Cost: 2.00 times the FLOPs of cross-entropy, as published: what is dropped is dropped after its passes.

    Args:
        logits: Outputs of both networks, ``[b, 2, K]``.
        target: Distributions ``[b, K]``, and the share f to forget, one number in [0, 1).

    Returns:
        One value per example, in nats; with f = 0 the sum of both cross-entropies.

    References:
        Han et al. (2018), arXiv 1804.06872, algorithm 1, lines 4 to 7.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[2.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 2.0]]])
        >>> given = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # the second label is not what the networks say
        >>> co_teaching(logits, (given, torch.tensor(0.5)))[1].item()
        0.0
    """
    distributions, forget = target
    losses = each_cross_entropy(logits, distributions)
    keep = ((1 - forget) * len(losses) + _ROUNDING).floor().clamp(min=1).to(losses.dtype)
    rank = losses.detach().argsort(dim=0, stable=True).argsort(dim=0)
    kept_by_other = (rank < keep).flip(1)
    return (losses * kept_by_other).sum(1) * (len(losses) / keep)
