"""Distillation with a temperature (Hinton, Vinyals & Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfdistill.losses._precision import at_least_single

__all__ = ["Softened", "distillation"]


class Softened(NamedTuple):
    """What `distillation` matches.

    Attributes:
        teacher: The teacher's logits, ``[b, K]``, up to a constant per row.
        given: Given labels as distributions, ``[b, K]``.
        temperature: T, above 0.
        weight: w, the teacher's share, in [0, 1].
    """

    teacher: Tensor
    given: Tensor
    temperature: float
    weight: float


def distillation(logits: Float[Tensor, "b k"], soft: Softened) -> Float[Tensor, " b"]:
    r"""Cross-entropy to the teacher at a temperature, and to the given label without one.

    .. math:: w\, T^2\, H(\mathrm{softmax}(v/T),\, \mathrm{softmax}(z/T)) + (1 - w)\, H(y,\, \mathrm{softmax}(z))

    The gradient of the first term in z is :math:`w\,T\,(\mathrm{softmax}(z/T) - \mathrm{softmax}(v/T))`; the factor
    :math:`T^2` keeps its size when T changes, and for large T it becomes :math:`w (z - v)/K` of centred logits.

    There are no second derivatives.

    Args:
        logits: Network outputs z, ``[b, K]``.
        soft: The teacher's logits v, the given labels y, T and w.

    Returns:
        One value per example, in nats.

    References:
        Hinton, Vinyals & Dean (2015), arXiv 1503.02531, section 2 and eq. 2 to 4.

    Example:
        >>> z = torch.tensor([[1.0, 0.0]], requires_grad=True)
        >>> distillation(z, Softened(z.detach(), torch.tensor([[1.0, 0.0]]), 4.0, 1.0)).backward()
        >>> z.grad.abs().max().item() < 1e-6
        True
    """
    z, v = at_least_single(logits), at_least_single(soft.teacher)
    value: Tensor = _Distillation.apply(z, v.detach(), soft.given, soft.temperature, soft.weight)  # type: ignore[no-untyped-call]
    return value


class _Distillation(torch.autograd.Function):
    """The loss with its gradient in closed form: a third of the kernels, which small networks feel."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, teacher: Tensor, given: Tensor, t: float, w: float) -> Tensor:
        log_p, soft = (logits / t).log_softmax(-1), (teacher / t).softmax(-1)
        plain = logits.log_softmax(-1)
        ctx.save_for_backward((w * t) * (log_p.exp() - soft) + (1 - w) * (plain.exp() - given))
        return -((w * t * t) * soft * log_p + (1 - w) * given * plain).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None], None, None, None, None
