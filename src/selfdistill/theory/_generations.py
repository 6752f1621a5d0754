"""Training anew, generation after generation, on the predecessor's outputs mixed with the given labels."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory._gradient_flow import extend
from selfdistill.theory._spectrum import Amount, Spectrum, amounts, eigenvalues, filtered, shrinkage


def generations(
    spectrum: Spectrum,
    targets: Tensor,
    count: Amount,
    *,
    given_weight: float = 0.0,
    time: float | None = None,
    penalty: float | None = None,
) -> Tensor:
    """Outputs of the student after ``count`` generations, each restarted from 0, ``[..., n]`` or ``[..., n, C]``."""
    # Generation k+1 is trained on alpha y + (1 - alpha) f_k, alpha = given_weight. With phi the filter of one training
    # (gradient flow for a time, or ridge with a penalty), s_0 = phi and s_{k+1} = phi (alpha + (1 - alpha) s_k), which
    # goes to s = alpha phi / (1 - (1 - alpha) phi) by the factor (1 - alpha) phi each time. Mobahi, Farajtabar &
    # Bartlett (2020), arXiv 2002.05715 (alpha = 0: ever fewer directions remain); Borup & Andersen (2021), arXiv
    # 2102.13088 (alpha > 0, with ridge an amplified penalty). Generation 0 is the teacher, infinity the limit.
    if not math.isfinite(given_weight):
        raise SettingError(f"given_weight is {given_weight}, but must be finite", "Take 0 to 1.")
    phi = shrinkage(eigenvalues(spectrum), time, penalty)
    number = amounts(count, "count", whole=True).to(phi)[..., None]
    carried = (1 - given_weight) * phi
    if bool(number.isinf().any()) and float(carried.abs().max()) > 1:
        raise SettingError(
            f"given_weight is {given_weight}, but infinitely many generations then diverge", "Take 0 to 1, or a count."
        )
    limit = torch.where(carried == 1, phi, given_weight * phi / torch.where(carried == 1, 1.0, 1 - carried))
    return filtered(spectrum, limit + (phi - limit) * carried**number, targets)


class Mixing(NamedTuple):
    """The best weight of the teacher's outputs in the student's targets."""

    own_weight: float  # ξ, unconstrained: above 1 where labels are very noisy, below 0 where the teacher is too smooth
    teacher_risk: float  # squared distance of the teacher to the truth, summed over examples and classes
    student_risk: float  # that of the student with this weight; never more


def optimal_mixing(
    spectrum: Spectrum,
    given: Tensor,
    truth: Tensor,
    *,
    time: float | None = None,
    penalty: float | None = None,
    cross: Tensor | None = None,
) -> Mixing:
    r"""Weight of the teacher's outputs that brings a restarted student nearest to the truth.

    The student is trained as the teacher was, but on :math:`(1-\xi)\,y + \xi f`. With φ the filter of one training,

    .. math::

        f = \varphi y, \qquad f_{\mathrm{SD}} = f - \xi g, \quad g = \varphi (1 - \varphi)\, y, \qquad
        \xi^* = \frac{\langle f - y^*, g\rangle}{\|g\|^2} .

    For ridge, :math:`g = -c\, df/dc`: the student moves along the path of penalties, and the risk R(c) of any quadratic
    form falls by :math:`R'(c)^2 / (4\|df/dc\|^2)`, at :math:`\xi^* = -R'(c) / (2 c \|df/dc\|^2)`.
    It needs the truth: an oracle, or a clean hold-out given through ``cross``.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        given: y, ``[n]`` or ``[n, C]``.
        truth: y*, of the shape of y; with ``cross``, that of the m other inputs.
        time: Of one training by gradient flow, or
        penalty: c of one training by ridge regression; exactly one of the two.
        cross: Kernel between other inputs and the training examples, ``[m, n]``; the risk is then theirs.

    Returns:
        Weight and risks.

    Raises:
        DataError: Truth of another shape than the outputs.

    References:
        Das & Sanghavi (2023), ICML (unconstrained ξ); the closed form for gradient flow is ours.

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([3.0, 1.0])))
        >>> optimal_mixing(kernel, torch.tensor([4.0, 2.0]), torch.tensor([4.0, 0.0]), penalty=1.0)
        Mixing(own_weight=-0.307..., teacher_risk=2.0, student_risk=1.923...)
    """
    phi = _one(shrinkage(eigenvalues(spectrum), time, penalty))
    teacher, change = filtered(spectrum, phi, given), filtered(spectrum, -phi * (1 - phi), given)
    if cross is not None:
        teacher, change = extend(spectrum, teacher, cross), extend(spectrum, change, cross)
    clean = torch.as_tensor(truth).to(teacher)
    if clean.shape != teacher.shape:
        raise DataError(
            f"truth has shape {tuple(clean.shape)}, but the outputs have {tuple(teacher.shape)}",
            "Give the true values of the inputs that the risk is of.",
        )
    error = teacher - clean
    return _mixing(float((error**2).sum()), float((error * change).sum()), float((change**2).sum()))


def _mixing(risk: float, slope: float, curvature: float) -> Mixing:
    """Minimise ``risk + 2 xi slope + xi² curvature``."""
    if curvature == 0:
        return Mixing(0.0, risk, risk)
    return Mixing(-slope / curvature, risk, risk - slope**2 / curvature)


def _one(phi: Tensor) -> Tensor:
    if phi.ndim > 1:
        raise SettingError(f"there are {len(phi)} times or penalties, but exactly one is needed", "Call once for each.")
    return phi
