"""Training anew, generation after generation, on the predecessor's outputs mixed with the given labels."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory._early_stopping import Moments
from selfdistill.theory._gradient_flow import extend
from selfdistill.theory._modes import Amount, amounts, eigenvalues, filtered, shrinkage
from selfdistill.theory._spectrum import Spectrum


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
        penalty: c of one training by ridge regression; exactly one of the two.

    Returns:
        float64, of the shape of y, or ``[G, ...]`` for several generations.

    Raises:
        SettingError: α infinite, or one with which infinitely many generations diverge.

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
            f"given_weight is {given_weight}, but infinitely many generations then diverge", "Take 0 to 1, or a count."
        )
    limit = torch.where(carried == 1, phi, given_weight * phi / torch.where(carried == 1, 1.0, 1 - carried))
    return filtered(spectrum, limit + (phi - limit) * carried**number, targets)


def rounds_to_clean(
    per_class: int, classes: int, *, intra: float, inter: float, penalty: float, dominance: float
) -> float:
    r"""Rounds of retraining a linear softmax probe on its own outputs after which every example is classified rightly.

    Each class has n examples; two of them have inner product c, those of different classes d, each with itself 1.
    Linearised about uniform outputs, a round multiplies the eigendirections of the Gram matrix with eigenvalue μ by
    :math:`\mu / (\mu + K^2 n \lambda)`. With p that of the differences of classes, :math:`\mu = 1 - c + n(c - d)`, q
    that of single examples, :math:`\mu = 1 - c`, and D the least difference between the share of right labels of a
    class and that of any wrong one, all are right after t rounds if

    .. math:: t > \frac{\ln\bigl((1 + D)/D\bigr)}{\ln(p/q)} .

    The form of a round is that of the code beside the paper; the filter and the count are our derivation.

    Args:
        per_class: n.
        classes: K, at least 2.
        intra: c, with d < c < 1.
        inter: d.
        penalty: λ of the probe's weight decay, above 0.
        dominance: D, above 0 and at most 1. If a class keeps a share 1 - r of its labels and the rest is spread evenly,
            1 - r - r / (K - 1).

    Returns:
        The number that t must exceed.

    Raises:
        SettingError: A value out of its range.

    References:
        Jeong & Chung (2025), ICLR.

    Example:
        >>> round(rounds_to_clean(100, 4, intra=0.4, inter=0.1, penalty=5e-5, dominance=0.33), 2)
        11.37
    """
    for name, value, fine, limit in (
        ("per_class", per_class, per_class >= 1, "at least 1"),
        ("classes", classes, classes >= 2, "at least 2"),
        ("intra", intra, inter < intra < 1, f"between inter = {inter} and 1"),
        ("penalty", penalty, penalty > 0, "above 0"),
        ("dominance", dominance, 0 < dominance <= 1, "above 0 and at most 1: right labels must outnumber any other"),
    ):
        if not fine:
            raise SettingError(f"{name} is {value}, but must be {limit}", f"Give another {name}.")
    ridge = classes**2 * per_class * penalty
    single = 1 - intra
    between = single + per_class * (intra - inter)
    ratio = (between / (between + ridge)) / (single / (single + ridge))
    return math.log((1 + dominance) / dominance) / math.log(ratio)


class Mixing(NamedTuple):
    """The best weight of the teacher's outputs in the student's targets.

    Attributes:
        own_weight: ξ, unconstrained: above 1 where labels are very noisy, below 0 where the teacher is too smooth.
        teacher_risk: Squared distance of the teacher to the truth, summed over examples and classes.
        student_risk: That of the student with this weight; never more.
    """

    own_weight: float
    teacher_risk: float
    student_risk: float


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


def expected_optimal_mixing(
    spectrum: Spectrum,
    truth: Tensor,
    expected: Tensor,
    variance: float | Tensor,
    *,
    time: float | None = None,
    penalty: float | None = None,
    norm: Literal["outputs", "parameters"] = "outputs",
) -> Mixing:
    r"""The same weight for the risk expected over the noise.

    With coefficients a of the truth, m of the expected labels, noise :math:`\nu_i` per direction,
    :math:`g = \varphi(1-\varphi)` and weights w of the norm,

    .. math::

        \xi^* = \frac{\sum_i w_i g_i \bigl((\varphi_i m_i - a_i)\, m_i + \varphi_i \nu_i\bigr)}
        {\sum_i w_i g_i^2 (m_i^2 + \nu_i)}, \qquad w_i = 1 \text{ or } 1/\lambda_i .

    ``norm="parameters"`` measures the distance of parameters, :math:`\|\theta - \theta^*\|^2`, which is that of
    outputs over λ; directions with λ = 0 have no parameters.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        truth: y*, ``[n]`` or ``[n, C]``.
        expected: Mean of the noisy labels, of the shape of the truth; see `label_moments`.
        variance: Of a noisy label, summed over classes: one number, or ``[n]``.
        time: Of one training by gradient flow, or
        penalty: c of one training by ridge regression; exactly one of the two.
        norm: "outputs" on the training examples, or "parameters".

    Returns:
        Weight and risks.

    Raises:
        SettingError: Another norm.

    References:
        Das & Sanghavi (2023), ICML (ridge, parameters, additive noise).

    Example:
        >>> kernel, truth = Spectrum.of(torch.diag(torch.tensor([3.0, 1.0]))), torch.tensor([4.0, 0.0])
        >>> expected_optimal_mixing(kernel, truth, truth, 9.0, penalty=1.0).own_weight > 1
        True
    """
    if norm not in {"outputs", "parameters"}:
        raise SettingError(f"norm is {norm!r}, but must be 'outputs' or 'parameters'", "Choose one of the two.")
    moments = Moments.of(spectrum, truth, expected, variance)
    values = moments.values
    phi = _one(shrinkage(values, time, penalty))
    scale = torch.ones_like(values) if norm == "outputs" else torch.where(values > 0, 1 / values, 0.0)
    error = (scale * ((phi - moments.ratio) ** 2 * moments.signal + phi**2 * moments.noise + moments.off)).sum()
    change = -phi * (1 - phi)
    slope = (scale * change * ((phi - moments.ratio) * moments.signal + phi * moments.noise)).sum()
    return _mixing(float(error), float(slope), float((scale * change**2 * (moments.signal + moments.noise)).sum()))


def _mixing(risk: float, slope: float, curvature: float) -> Mixing:
    """Minimise ``risk + 2 xi slope + xi² curvature``."""
    if curvature == 0:
        return Mixing(0.0, risk, risk)
    return Mixing(-slope / curvature, risk, risk - slope**2 / curvature)


def _one(phi: Tensor) -> Tensor:
    if phi.ndim > 1:
        raise SettingError(f"there are {len(phi)} times or penalties, but exactly one is needed", "Call once for each.")
    return phi
