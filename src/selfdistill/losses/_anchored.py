"""The loss of the default method: match a target, and stay near the memory of early learning."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.losses._cross_entropy import KnownGradient, at_least_single, check_distribution

ELR_FLOOR = 1e-4
"""Clamp on probabilities, from the code of Liu et al.; it bounds `elr_term` by its logarithm."""
_largest, _sum = np.maximum.reduce, np.add.reduce


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
    ``elr_term``, from one softmax and half as many kernels. There are no second derivatives: a backward pass with
    ``create_graph=True`` is refused.

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
    return with_prediction(logits, anchored)[0]


def with_prediction(logits: Tensor, anchored: tuple[Tensor, Tensor, float, Tensor | float]) -> tuple[Tensor, Tensor]:
    """Return `anchored_cross_entropy` and the softmax that it makes on the way, ``[b]`` and ``[b, K]``."""
    target, memory, momentum, strength = anchored
    scores = at_least_single(logits)
    with torch.no_grad():
        log_p = scores.log_softmax(-1)
        p = log_p.exp()
        mixed = torch.lerp(p, memory.to(p.dtype), momentum)
        held = p.clamp(ELR_FLOOR, 1 - ELR_FLOOR)
        rest = 1 - (held * mixed).sum(-1, keepdim=True).clamp_(max=1 - ELR_FLOOR)
        value = (rest.log() - math.log(ELR_FLOOR))[:, 0] * strength - (target * log_p).sum(-1)
        # d/dp of both terms; a clamped probability pulls no further. Then through the softmax: p (v - <p, v>).
        slope = mixed.mul_(p == held).mul_(rest.reciprocal_().mul_(strength).neg_())
        inner = (p * slope).sum(-1, keepdim=True) - target.sum(-1, keepdim=True)
        slope.sub_(inner).mul_(p).sub_(target)
    found: Tensor = KnownGradient.apply(scores, value, slope)  # type: ignore[no-untyped-call]
    return found, p


def of_arrays(
    logits: Tensor,
    scores: np.ndarray,
    target: np.ndarray,
    memory: np.ndarray,
    momentum: float,
    strength: np.ndarray,
    *,
    mean: bool,
) -> tuple[Tensor, np.ndarray]:
    """Return what `with_prediction` does, or the mean, from ``scores``, the logits as an array of float32."""
    z, target, memory = scores.T, target.T, memory.T  # [K, b]
    z = z - _largest(z)
    p = np.exp(z)
    total = _sum(p)
    p /= total
    z -= np.log(total)
    mixed = memory - p
    mixed *= momentum
    mixed += p
    held = np.minimum(np.maximum(p, ELR_FLOOR), 1 - ELR_FLOOR)
    rest = np.maximum(1 - _sum(held * mixed), ELR_FLOOR)
    logs = np.log(rest / ELR_FLOOR)
    mixed *= held == p
    mixed *= strength / rest
    slope = _sum(p * mixed) + 1 - mixed
    slope *= p
    slope -= target
    if not mean:
        rows = torch.from_numpy(strength * logs - _sum(target * z)), torch.from_numpy(slope.T)
        return KnownGradient.apply(logits, *rows), p.T  # type: ignore[no-untyped-call]
    slope /= len(logs)
    value = (strength * _sum(logs) - np.vdot(target.T, z.T)) / len(logs)  # [b, K], as they lie in memory
    # A product that has this gradient, and whose value is put in: half the time of a function of our own.
    found = torch.dot(logits.reshape(-1), torch.from_numpy(slope.T.ravel()))
    found.detach().numpy().fill(value)
    return found, p.T
    return found, p.T
