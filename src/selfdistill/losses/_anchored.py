"""The loss of the default method: match a target, and stay near the memory of early learning."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfdistill.losses._liu2020elr import ELR_FLOOR
from selfdistill.losses._precision import at_least_single

__all__ = ["anchored_cross_entropy"]


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

    References:
        Liu et al. (2020), arXiv 2007.00151, eq. 6, with a target in the place of the given label.

    Example:
        >>> t = torch.tensor([[1.0, 0.0]])
        >>> round(anchored_cross_entropy(torch.zeros(1, 2), (t, t, 1.0, 1.0)).item(), 4)
        9.2103
    """
    target, memory, momentum, strength = anchored
    strength = torch.as_tensor(strength, dtype=target.dtype, device=target.device)
    value: Tensor = _Anchored.apply(at_least_single(logits), target, memory.detach(), momentum, strength)  # type: ignore[no-untyped-call]
    return value


class _Anchored(torch.autograd.Function):
    """The loss with its gradient in closed form."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, memory: Tensor, momentum: float, strength: Tensor) -> Tensor:
        log_p = logits.log_softmax(-1)
        p = log_p.exp()
        memory = torch.lerp(p, memory.to(p.dtype), momentum)
        held = p.clamp(ELR_FLOOR, 1 - ELR_FLOOR)
        rest = 1 - (held * memory).sum(-1, keepdim=True).clamp(max=1 - ELR_FLOOR)
        ctx.save_for_backward(p, held, target, memory, strength, rest)
        value = strength * (rest.log() - math.log(ELR_FLOOR)) - (target * log_p).sum(-1, keepdim=True)
        return value.squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        p, held, target, memory, strength, rest = ctx.saved_tensors
        # d/dp of both terms; a clamped probability pulls no further. Then through the softmax: p (v - <p, v>).
        slope = -strength * (memory * (p == held)) / rest
        inner = (p * slope).sum(-1, keepdim=True) - target.sum(-1, keepdim=True)
        return torch.addcmul(-target, p, slope - inner) * grad[:, None], None, None, None, None
