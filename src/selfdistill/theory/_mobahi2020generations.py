"""Training anew, generation after generation, each on its predecessor's outputs mixed with the given labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory._modes import Amount, amounts, eigenvalues, filtered, shrinkage
from selfdistill.theory._spectrum import Spectrum

__all__ = ["generations"]


def generations(
    spectrum: Spectrum,
    targets: Tensor,
    count: Amount,
    *,
    given_weight: float = 0.0,
    time: float | None = None,
    penalty: float | None = None,
) -> Tensor:
    r"""Outputs of the student after some generations of self-distillation, each restarted from outputs of 0.

    Generation k+1 is trained on :math:`\alpha y + (1-\alpha) f_k`. With φ the filter of one training,
    :math:`1 - e^{-\lambda t}` (gradient flow) or :math:`\lambda/(\lambda + c)` (ridge),

    .. math::

        s_0 = \varphi, \quad s_{k+1} = \varphi\,(\alpha + (1-\alpha) s_k), \qquad
        s_k = s_\infty + (\varphi - s_\infty)\bigl((1-\alpha)\varphi\bigr)^k, \quad
        s_\infty = \frac{\alpha\varphi}{1 - (1-\alpha)\varphi}

    With α = 0, :math:`s_k = \varphi^{k+1}`: ever fewer directions remain. With ridge and α > 0,
    :math:`s_\infty = \lambda/(\lambda + c/\alpha)`: ridge with an amplified penalty.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        targets: y, ``[n]`` or ``[n, C]``.
        count: k, whole numbers: 0 is the teacher; ``math.inf`` the limit; several at once as a list or ``[G]``.
        given_weight: α, usually 0 to 1. Below 0 (own weight above 1) the student learns more than the teacher's
            outputs, less some of the labels; see `optimal_mixing`.
        time: Of one training by gradient flow, or
        penalty: c of one training by ridge regression; just one of the two.

    Returns:
        float64, of the shape of y, or ``[G, ...]`` for several generations.

    Raises:
        SettingError: α infinite, or one with which generations without end diverge.

    References:
        Mobahi, Farajtabar & Bartlett (2020), arXiv 2002.05715 (α = 0); Borup & Andersen (2021), arXiv 2102.13088
        (α > 0, amplified penalty).

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([3.0, 1.0])))
        >>> generations(kernel, torch.tensor([1.0, 1.0]), [0, 1, 2], penalty=1.0)
        tensor([[0.7500, 0.5000],
                [0.5625, 0.2500],
                [0.4219, 0.1250]], dtype=torch.float64)
    """
    if not math.isfinite(given_weight):
        raise SettingError(f"given_weight is {given_weight}, but must be finite", "Take 0 to 1.")
    phi = shrinkage(eigenvalues(spectrum), time, penalty)
    number = amounts(count, "count", whole=True).to(phi)[..., None]
    carried = (1 - given_weight) * phi
    if bool(number.isinf().any()) and float(carried.abs().max()) > 1:
        raise SettingError(
            f"given_weight is {given_weight}, but generations without end then diverge", "Take 0 to 1, or a count."
        )
    limit = torch.where(carried == 1, phi, given_weight * phi / torch.where(carried == 1, 1.0, 1 - carried))
    return filtered(spectrum, limit + (phi - limit) * carried**number, targets)
