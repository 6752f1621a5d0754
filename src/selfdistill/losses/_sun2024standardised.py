"""Distillation of standardised logits: what counts is their relation, not their size (Sun et al. 2024)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from selfdistill.losses._hinton2015distilling import Softened, distillation
from selfdistill.losses._precision import at_least_single

__all__ = ["standardised_distillation"]

_LEAST = 1e-3
"""Standard deviation, about, below which the logits of an example are stretched no further."""


def standardised_distillation(logits: Float[Tensor, "b k"], soft: Softened) -> Float[Tensor, " b"]:
    r"""Distillation with a temperature between logits of mean 0 and standard deviation 1, of teacher and student.

    .. math:: w\, T^2\, H(\mathrm{softmax}(\bar v/T),\, \mathrm{softmax}(\bar z/T))
        + (1 - w)\, H(y,\, \mathrm{softmax}(z)), \qquad \bar z = (z - \mathrm{mean}(z)) / \mathrm{std}(z)

    A student then need not reach the size of its teacher's logits. There are no second derivatives.

    Args:
        logits: Network outputs z, ``[b, K]``.
        soft: The teacher's logits v, the given labels y, T and w.

    Returns:
        One value per example, in nats.

    References:
        Sun, Ren, Li, Wang & Cao (2024), CVPR, arXiv 2403.01427, algorithms 1 and 2. The authors' code divides by the
        standard deviation of a sample (K - 1), and weighs the two terms 9 and 1 instead of 0.9 and 0.1.

    Example:
        >>> import torch
        >>> v, y = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.0, 1.0]])
        >>> a, b = (standardised_distillation(z, Softened(v, y, 2.0, 1.0)) for z in (v, 10 * v + 3))
        >>> torch.allclose(a, b)
        True
    """
    z, v = at_least_single(logits), at_least_single(soft.teacher).detach()
    taught = distillation(_standardised(z), Softened(_standardised(v), soft.given, soft.temperature, 1.0))
    plain = distillation(z, Softened(v, soft.given, soft.temperature, 0.0))
    return soft.weight * taught + (1 - soft.weight) * plain


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + _LEAST**2).sqrt()
