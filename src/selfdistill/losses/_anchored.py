"""The loss of the default method: match a target, and stay near the memory of early learning."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfdistill._core.errors import SettingError
from selfdistill.losses._cross_entropy import at_least_single, check_distribution

__all__ = ["ELR_FLOOR", "anchored_cross_entropy", "elr_term"]

ELR_FLOOR = 1e-4
"""Clamp on probabilities, from the code of Liu et al.; it bounds `elr_term` by its logarithm."""


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


def anchored_cross_entropy(
    logits: Float[Tensor, "b k"], anchored: tuple[Tensor, Tensor, float, Tensor | float]
) -> Float[Tensor, " b"]:
    r"""Cross-entropy to a target plus a weighted pull towards the memory of predictions, this one included.

    .. math:: -\sum_c t_c \log p_c + \lambda \log\frac{1 - \langle p, \bar m \rangle}{10^{-4}}, \qquad
        \bar m = \beta m + (1 - \beta)\, p

    The gradient takes :math:`\bar m` as a constant, as it takes t. The constant :math:`10^{-4}` changes no gradient; it
    makes 0 the least value of the second term, see `elr_term`. Values and gradients are those of ``cross_entropy`` and
    ``elr_term``, from one softmax and half as many kernels; there are no second derivatives.

    Args:
        logits: Network outputs, ``[b, K]``.
        anchored: Target distributions t ``[b, K]``; averaged predictions m of earlier epochs ``[b, K]``; their weight
            β in [0, 1]; the strength λ, one number.

    Returns:
        One value per example, at least 0.

    Raises:
        SettingError: A target of another loss.

    References:
        Liu et al. (2020), arXiv 2007.00151, eq. 6, with a target in the place of the given label.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(anchored_cross_entropy(torch.zeros(1, 2), (t, t, 1.0, 1.0)).item(), 4)
        9.2103
    """
    if not isinstance(anchored, tuple) or len(anchored) != 4:
        check_distribution("cross_entropy", logits, anchored)
        raise SettingError(
            "losses.anchored_cross_entropy takes what targets.Posterior reads, but got distributions",
            "Take losses.cross_entropy, or RobustTargets, which has both.",
        )
    target, memory, momentum, strength = anchored
    strength = torch.as_tensor(strength, dtype=target.dtype, device=target.device)
    value: Tensor = _Anchored.apply(at_least_single(logits), target, memory.detach(), momentum, strength)  # type: ignore[no-untyped-call]
    return value


class _Anchored(torch.autograd.Function):
    """The loss with its gradient in closed form, made with the value, so that one tensor is kept for backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, memory: Tensor, momentum: float, strength: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        memory = torch.lerp(p, memory.to(p.dtype), momentum)
        held = p.clamp(ELR_FLOOR, 1 - ELR_FLOOR)
        rest = 1 - (held * memory).sum(-1).clamp(max=1 - ELR_FLOOR)
        # d/dp of both terms; a clamped probability pulls no further. Then through the softmax: p (v - <p, v>).
        slope = memory * (p == held) * (-strength / rest)[:, None]
        inner = (p * slope).sum(-1) - target.sum(-1)
        ctx.save_for_backward(torch.addcmul(-target, p, slope - inner[:, None]))
        return strength * (rest.log() - math.log(ELR_FLOOR)) - (target * log_p).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], None, None, None, None
