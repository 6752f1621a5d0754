"""The losses of DivideMix (Li et al. 2020, arXiv 2002.07394)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["far_from_uniform", "squared_error"]


def squared_error(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Mean squared difference between a target distribution and the network's.

    .. math:: \frac1K \sum_c (p_c - t_c)^2

    Args:
        logits: Network outputs, ``[b, K]``.
        target: Distributions t, rows sum to 1.

    Returns:
        One value per example, in [0, 2/K].

    References:
        Li et al. (2020), arXiv 2002.07394, eq. 10, divided by K as in the authors' code, whose weights belong to that.

    Example:
        >>> import torch
        >>> squared_error(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item()
        0.25
    """
    return (at_least_single(logits).softmax(-1) - target).square().mean(-1)


def far_from_uniform(logits: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    r"""Divergence of the uniform distribution from the mean prediction of a batch: against one class for all.

    .. math:: \sum_c \frac1K \log \frac{1/K}{\bar p_c}, \qquad \bar p = \frac1b \sum_i \mathrm{softmax}(z_i)

    Args:
        logits: Network outputs, ``[b, K]``.

    Returns:
        One number, at least 0 up to rounding.

    References:
        Li et al. (2020), arXiv 2002.07394, eq. 11.

    Example:
        >>> import torch
        >>> far_from_uniform(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).abs().item() < 1e-6
        True
    """
    b, k = logits.shape
    mean = at_least_single(logits).log_softmax(-1).logsumexp(0) - math.log(b)
    return -mean.mean() - math.log(k)
