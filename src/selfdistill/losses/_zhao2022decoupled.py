"""Distillation of the given class and of the others, each with a weight of its own (Zhao et al. 2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from selfdistill.losses._cross_entropy import cross_entropy
from selfdistill.losses._precision import at_least_single

__all__ = ["Decoupled", "decoupled_distillation"]


class Decoupled(NamedTuple):
    """What `decoupled_distillation` matches.

    Attributes:
        teacher: The teacher's logits v, ``[b, K]``, up to a constant per row.
        given: Given labels as one-hot rows, ``[b, K]``.
        temperature: T, above 0.
        alpha: Weight of the given class against the rest.
        beta: Weight of the others among themselves.
    """

    teacher: Tensor
    given: Tensor
    temperature: float
    alpha: float
    beta: float


def decoupled_distillation(logits: Float[Tensor, "b k"], target: Decoupled) -> Float[Tensor, " b"]:
    r"""Cross-entropy to the given label, and the two parts that distillation consists of.

    .. math:: H(y, \mathrm{softmax}(z)) + T^2 \big(\alpha\,\mathrm{KL}(b^v \,\|\, b^z)
        + \beta\,\mathrm{KL}(\hat q^v \,\|\, \hat q^z)\big)

    with :math:`b = (q_y, 1 - q_y)` and :math:`\hat q = q_{c \ne y} / (1 - q_y)` of the distributions
    :math:`q = \mathrm{softmax}(\cdot / T)` of teacher and student. With :math:`\alpha = 1` and
    :math:`\beta = 1 - q^v_y` their sum is the usual divergence, in which a teacher that is sure of the given label
    hides what it knows of the others.

    Args:
        logits: Network outputs z, ``[b, K]``.
        target: The teacher's logits, the given labels, T, α and β.

    Returns:
        One value per example, in nats.

    References:
        Zhao, Cui, Song, Qiu & Liang (2022), CVPR, arXiv 2203.08679, eq. 4 to 7. In the authors' code the two parts grow
        from 0 to their weight over the first 20 epochs; here they do not.

    Example:
        >>> z = torch.tensor([[9.0, 1.0, 2.0]])
        >>> decoupled_distillation(z, Decoupled(z, torch.tensor([[1.0, 0.0, 0.0]]), 4.0, 1.0, 8.0)).item() < 0.01
        True
    """
    t, given = target.temperature, target.given
    z, v = at_least_single(logits), at_least_single(target.teacher).detach()
    mine, theirs = _parts(z / t, given), _parts(v / t, given)
    value: Tensor = cross_entropy(z, given.to(z.dtype))
    for weight, a, b in ((target.alpha, theirs[0], mine[0]), (target.beta, theirs[1], mine[1])):
        value = value + weight * t * t * (a.exp() * (a - b)).sum(-1)
    return value


def _parts(z: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities: of the given class and the rest ``[b, 2]``, of the others among themselves ``[b, K - 1]``."""
    y = given.argmax(-1, keepdim=True)
    places = torch.arange(z.shape[-1] - 1, device=z.device).expand(len(z), -1)
    own, others = z.gather(1, y), z.gather(1, places + (places >= y))
    ahead = own - others.logsumexp(-1, keepdim=True)
    return logsigmoid(torch.cat([ahead, -ahead], -1)), others.log_softmax(-1)
