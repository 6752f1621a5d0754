"""Cross-entropy to a mixture of given label and teacher whose weight is free (Furlanello et al. 2018)."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._precision import at_least_single

__all__ = ["MIXED_FLOOR", "mixed_cross_entropy"]

MIXED_FLOOR = 1e-4
"""Probability below which an entry of less than nothing pushes a class no further."""


def mixed_cross_entropy(logits: Float[Tensor, "b k"], target: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    r"""Cross-entropy to a target that may have entries below 0 and above 1.

    .. math:: -\sum_c t_c \log\begin{cases} p_c & t_c \ge 0 \\ \max(p_c, 10^{-4}) & t_c < 0 \end{cases},
        \qquad t = (1 - \xi)\, y + \xi\, q

    For ξ in [0, 1] it is the cross-entropy to the mixture. Above 1 it moves away from the given label, wherever the
    teacher gives it less than (ξ − 1)/ξ; below 0 away from the teacher. The cross-entropy alone has then no least
    value: the class would be pushed down for ever. Here it is pushed to a probability of 1e-4 and no further, so the
    loss lies at least at 9.22 times the sum of the entries below 0; until then its gradient in the logits is p − t.

    Args:
        logits: Network outputs, ``[b, K]``.
        target: t, ``[b, K]``; rows sum to 1, entries may have any sign.

    Returns:
        One value per example, in nats.

    References:
        Furlanello, Lipton, Tschannen, Itti & Anandkumar (2018), arXiv 1805.04770; Das & Sanghavi (2023), arXiv
        2301.13304, where weights above 1 are found best at high label noise. The floor is ours.

    Example:
        >>> import torch
        >>> z = torch.tensor([[0.0, 1e4]])
        >>> round(mixed_cross_entropy(z, torch.tensor([[-1.0, 2.0]])).item(), 4)
        -9.2103
    """
    log_p = at_least_single(logits).log_softmax(-1)
    away = log_p.clamp(min=math.log(MIXED_FLOOR))
    return -(target.clamp(min=0) * log_p + target.clamp(max=0) * away).sum(-1)
