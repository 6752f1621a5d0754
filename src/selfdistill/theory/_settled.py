"""Hard self-distillation once the predictions no longer change: closed form, bound, and when they stay right."""

from __future__ import annotations

import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory._modes import Amount, amounts, damping, eigenvalues, start_rows, target_rows
from selfdistill.theory._spectrum import Spectrum

__all__ = ["critical_own_weight", "settled_bound", "settled_distillation"]


def settled_distillation(
    spectrum: Spectrum,
    given: Tensor,
    settled: Tensor,
    time: Amount,
    *,
    start: Tensor,
    given_weight: float,
    decay: float = 0.0,
) -> Tensor:
    r"""Outputs of hard self-distillation by gradient flow, from when on the predictions stay as they are.

    With h the settled predictions, :math:`\alpha_s = \alpha_0 e^{-gs}` the weight of the given labels at time s since
    then, and :math:`e = f - h`,

    .. math::

        \dot e_i = -\lambda_i \bigl(e_i - \alpha_s\, v_i^\top (y - h)\bigr), \qquad
        e_i(t) = e^{-\lambda_i t} e_i(0)
        + v_i^\top (y - h)\,\alpha_0 \lambda_i \frac{e^{-g t} - e^{-\lambda_i t}}{\lambda_i - g} .

    If the predictions are right and g > 0, the outputs go to the truth, so the margin goes to 1; with g = 0 they go to
    :math:`\alpha y + (1 - \alpha) h`: wrongly labelled examples then have margin :math:`1 - 2\alpha` (labels of -1, 1).
    That the predictions do stay is for the caller to check, on the result. Our statement, for the kernel regime.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        given: y, ``[n]`` or ``[n, C]``.
        settled: h, the predictions as labels of the same form.
        time: Since the predictions settled, 0 or more; several at once as a list or ``[T]``.
        start: Outputs when they settled, of the shape of y.
        given_weight: α₀ in [0, 1].
        decay: g, 0 or more, per unit of time.

    Returns:
        float64, of the shape of y, or ``[T, ...]`` for several times.

    Example:
        >>> kernel, truth = Spectrum.of(torch.eye(2)), torch.tensor([1.0, -1.0])
        >>> given, start = torch.tensor([1.0, 1.0]), torch.tensor([0.5, -0.5])
        >>> settled_distillation(kernel, given, truth, 50.0, start=start, given_weight=0.25).round(decimals=4)
        tensor([ 1.0000, -0.5000], dtype=torch.float64)
    """
    values = eigenvalues(spectrum)
    absorbed, left = _absorbed(values, time, given_weight, decay)
    labels = target_rows(spectrum, given, "given")
    rest = start_rows(spectrum, settled, labels)
    n = spectrum.size
    error, wrong = (
        spectrum.vectors.T @ (z - rest).reshape(n, -1) for z in (start_rows(spectrum, start, labels), labels)
    )
    moved = spectrum.vectors @ (left[..., None] * error + absorbed[..., None] * wrong)
    return rest + moved.reshape(*absorbed.shape[:-1], *labels.shape)


def settled_bound(
    spectrum: Spectrum,
    given: Tensor,
    settled: Tensor,
    time: Amount,
    *,
    start: Tensor,
    given_weight: float,
    decay: float = 0.0,
) -> Tensor:
    r"""Bound on how far `settled_distillation` is from the settled predictions.

    .. math::

        \|f_t - h\| \le e^{-\lambda_{\min} t}\,\|f_0 - h\| + \|y - h\| \max_i
        \lambda_i \int_0^t e^{-\lambda_i (t-s)}\,\alpha_s\, ds

    The margin is at least 1 less this bound (labels of -1 and 1). Our statement, for the kernel regime.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        given: y, ``[n]`` or ``[n, C]``.
        settled: h, the predictions as labels of the same form.
        time: Since the predictions settled, 0 or more; several at once as a list or ``[T]``.
        start: Outputs when they settled, of the shape of y.
        given_weight: α₀ in [0, 1].
        decay: g, 0 or more, per unit of time.

    Returns:
        float64, scalar or ``[T]``; norms over examples and classes.

    Example:
        >>> kernel, truth = Spectrum.of(torch.eye(2)), torch.tensor([1.0, -1.0])
        >>> given, start = torch.tensor([1.0, 1.0]), torch.tensor([0.5, -0.5])
        >>> settled_bound(kernel, given, truth, [0.0, 50.0], start=start, given_weight=0.25).round(decimals=4)
        tensor([0.7071, 0.5000], dtype=torch.float64)
    """
    absorbed, left = _absorbed(eigenvalues(spectrum), time, given_weight, decay)
    labels = target_rows(spectrum, given, "given")
    rest, begin = start_rows(spectrum, settled, labels), start_rows(spectrum, start, labels)
    near, far = torch.linalg.norm(begin - rest), torch.linalg.norm(labels - rest)
    bound: Tensor = left.amax(-1) * near + absorbed.amax(-1) * far
    return bound


def critical_own_weight(temperature: float) -> float:
    r"""Own weight above which self-distillation through softmax(z / t) keeps a right prediction on a wrong label.

    One example with two classes under cross-entropy: with own weight λ its logit difference can rest on the right side
    only if :math:`\lambda > \lambda_c`,

    .. math:: \lambda_c(t) = \min_{z > 0} \frac{\sigma(z)}{\sigma(z / t)} .

    Hard labels (t = 0) need more than 1/2, soft ones (t = 1) never keep it. Our statement.

    Args:
        temperature: t, 0 or more.

    Returns:
        λ_c, from 0.5 to 1.

    Example:
        >>> [round(critical_own_weight(t), 3) for t in (0.0, 0.1, 0.5, 1.0)]
        [0.5, 0.603, 0.828, 1.0]
    """
    t = float(amounts(temperature, "temperature"))
    if t == 0:
        return 0.5
    if t >= 1:
        return 1.0
    ratio = lambda z: float(expit(z) / expit(z / t))
    return float(minimize_scalar(ratio, bounds=(0.0, 5.0), method="bounded", options={"xatol": 1e-12}).fun)


def _absorbed(values: Tensor, time: Amount, given_weight: float, decay: float) -> tuple[Tensor, Tensor]:
    """Share of the wrong labels taken up by each direction, and what is left of the error at the start."""
    if not 0 <= given_weight <= 1:
        raise SettingError(f"given_weight is {given_weight}, but must be in [0, 1]", "It is a share of the target.")
    g, t = float(amounts(decay, "decay")), amounts(time, "time").to(values)
    gap = (values - g).abs()
    slower = damping(values.clamp(max=g), t)
    # lambda (e^-gt - e^-lambda t) / (lambda - g), with the slower of the two in front
    grown = torch.where(gap > 0, -torch.expm1(-damping(gap, t)) / torch.where(gap > 0, gap, 1.0), t[..., None])
    absorbed = given_weight * values * torch.where(slower < torch.inf, (-slower).exp() * grown, 0.0)
    return absorbed, (-damping(values, t)).exp()
