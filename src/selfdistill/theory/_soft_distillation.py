"""Distilling one's own outputs during training: present, last epoch's or averaged soft ones, and settled hard ones."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory._modes import (
    Amount,
    amounts,
    damping,
    eigenvalues,
    filtered,
    shrinkage,
    start_rows,
    steady_lr,
    target_rows,
)
from selfdistill.theory._spectrum import Spectrum


def effective_time(own_weight: Tensor, interval: float) -> Tensor:
    r"""Time that instant soft self-distillation takes off the clock; the only thing it does.

    With own weight :math:`\lambda_t` the target is :math:`(1 - \lambda_t)\, y + \lambda_t f_t`, hence

    .. math::

        \frac{df}{dt} = -K\bigl(f - (1-\lambda_t)\,y - \lambda_t f\bigr) = -(1-\lambda_t)\, K (f - y), \qquad
        f_t = (I - e^{-K\tau})\, y, \quad \tau = \int_0^t (1 - \lambda_s)\, ds :

    gradient flow at another time. It can reach nothing that early stopping does not reach.

    Args:
        own_weight: λ in each interval, constant there, ``[T]``.
        interval: Length of an interval, in units of `gradient_flow`.

    Returns:
        τ at the end of each interval, float64 ``[T]``; pass it to `gradient_flow` as time.

    Example:
        >>> effective_time(torch.tensor([0.0, 0.5, 1.0]), interval=2.0)
        tensor([2., 3., 3.], dtype=torch.float64)
    """
    return ((1 - _weights(own_weight)) * float(amounts(interval, "interval", positive=True))).cumsum(0)


def soft_distillation(
    spectrum: Spectrum,
    targets: Tensor,
    lr: float,
    own_weight: Tensor,
    steps: Amount | None = None,
    start: Tensor | None = None,
) -> Tensor:
    r"""Outputs after steps of gradient descent towards a mix of labels and one's own present outputs.

    .. math::

        f_k = f_{k-1} + \eta K\bigl((1 - a_k)\,y + a_k f_{k-1} - f_{k-1}\bigr), \qquad
        f_k = y + \prod_{j \le k}\bigl(I - \eta(1 - a_j) K\bigr)\,(f_0 - y)

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        targets: y, ``[n]`` or ``[n, C]``.
        lr: η, above 0 and at most 2 over the largest eigenvalue.
        own_weight: a of each step, in [0, 1], ``[S]``.
        steps: After how many steps to give the outputs, 0 to S, as a number or a list; after all S if left out.
        start: f₀, of the shape of y; 0 if left out.

    Returns:
        float64, of the shape of y, or ``[T, ...]`` for several steps. Cost: ``2 n² C (T + 1) + 3 n S`` FLOPs.

    Raises:
        SettingError: More steps asked for than there are weights.

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([1.0, 0.5])))
        >>> soft_distillation(kernel, torch.tensor([1.0, 1.0]), 1.0, own_weight=torch.tensor([0.5, 1.0]))
        tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    values, weights = eigenvalues(spectrum), _weights(own_weight)
    rate = values * steady_lr(values, lr)
    wanted = amounts(len(weights) if steps is None else steps, "steps", whole=True)
    if float(wanted.max()) > len(weights):
        raise SettingError(
            f"steps go up to {wanted.max():g}, but own_weight has {len(weights)}", "Give a weight for each step."
        )
    kept, left = {}, torch.ones_like(rate)
    asked = {int(s) for s in wanted.reshape(-1)}
    for k in range(max(asked) + 1):
        if k:
            left = left * (1 - (1 - float(weights[k - 1])) * rate)
        if k in asked:
            kept[k] = 1 - left
    share = torch.stack([kept[int(s)] for s in wanted.reshape(-1)]).reshape(*wanted.shape, -1)
    return filtered(spectrum, share, targets, start)


def lagged_distillation(
    spectrum: Spectrum,
    targets: Tensor,
    epoch: float,
    given_weight: float,
    epochs: Amount,
    start: Tensor | None = None,
) -> Tensor:
    r"""Outputs of training that goes on, towards labels mixed with the outputs at the end of the epoch before.

    With :math:`\varphi = 1 - e^{-\lambda T}` and α the weight of the labels, :math:`1 - s_k = (1 - \alpha\varphi)^k`.
    Where :math:`\lambda T \ll 1` it is a change of time again; where :math:`\lambda T \gg 1` all directions move at the
    common rate :math:`(1-\alpha)^k`: the lag takes away, at the top of the spectrum, that signal comes first.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        targets: y, ``[n]`` or ``[n, C]``.
        epoch: T, length of an epoch in units of `gradient_flow`, above 0.
        given_weight: α, in [0, 1].
        epochs: k, whole numbers, or infinity; several at once as a list or ``[E]``.
        start: f₀, of the shape of y; 0 if left out.

    Returns:
        float64, of the shape of y, or ``[E, ...]`` for several numbers of epochs.

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([100.0, 0.01])))
        >>> lagged_distillation(kernel, torch.tensor([1.0, 1.0]), 1.0, 0.5, [1, 2]).round(decimals=4)
        tensor([[0.5000, 0.0050],
                [0.7500, 0.0099]], dtype=torch.float64)
    """
    values, alpha = eigenvalues(spectrum), _weight(given_weight, "given_weight")
    moved = alpha * shrinkage(values, float(amounts(epoch, "epoch", positive=True)), None)
    exponent = amounts(epochs, "epochs", whole=True).to(values)[..., None] * -torch.log1p(-moved)
    return filtered(spectrum, -torch.expm1(-exponent.nan_to_num(nan=0.0, posinf=torch.inf)), targets, start)


def averaged_distillation(
    spectrum: Spectrum,
    targets: Tensor,
    time: Amount,
    given_weight: float,
    memory: float,
    start: Tensor | None = None,
) -> Tensor:
    r"""Outputs of gradient flow towards labels mixed with an exponential running mean of one's own outputs.

    .. math:: \dot f = -K\bigl(f - \alpha y - (1-\alpha)\, g\bigr), \qquad \dot g = (f - g)/\theta, \qquad g_0 = f_0

    Each direction is a linear system of two equations with real eigenvalues
    :math:`r_\pm = \mu \pm \delta`, :math:`\mu = -(\lambda + 1/\theta)/2`,
    :math:`\delta^2 = (\lambda - 1/\theta)^2/4 + (1-\alpha)\lambda/\theta`.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        targets: y, ``[n]`` or ``[n, C]``.
        time: 0 or more and finite; several at once as a list or ``[T]``.
        given_weight: α, in [0, 1].
        memory: θ, above 0, in the same units of time.
        start: f₀, of the shape of y; 0 if left out.

    Returns:
        f, float64, of the shape of y, or ``[T, ...]`` for several times.

    Raises:
        SettingError: An infinite time.

    Example:
        >>> kernel = Spectrum.of(torch.eye(1))
        >>> averaged_distillation(kernel, torch.ones(1), [1.0, 10.0], 0.5, memory=1.0).round(decimals=3)
        tensor([[0.3370],
                [0.9540]], dtype=torch.float64)
    """
    values, alpha = eigenvalues(spectrum), _weight(given_weight, "given_weight")
    theta = float(amounts(memory, "memory", positive=True))
    t = amounts(time, "time").to(values)[..., None]
    if not bool(torch.isfinite(t).all()) or not math.isfinite(theta):
        raise SettingError("time or memory is infinite, but must be finite", "The limit is the targets, if alpha > 0.")
    delta = ((values - 1 / theta) ** 2 / 4 + (1 - alpha) * values / theta).sqrt()
    fast = -(values + 1 / theta) / 2 - delta
    slow = (alpha * values / theta) / fast  # their product is the determinant: no difference of near numbers
    ratio = torch.where(delta * t > 0, -torch.expm1(-2 * delta * t) / torch.where(delta > 0, 2 * delta, 1.0), t)
    # first row of the matrix exponential, applied to equal residuals of f and g
    left = (slow * t).exp() * (1 + ratio * (-alpha * values - slow))
    return filtered(spectrum, 1 - left, targets, start)


def _weight(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise SettingError(f"{name} is {value}, but must be in [0, 1]", "It is a share of the target.")
    return float(value)


def _weights(values: Tensor) -> Tensor:
    found = torch.as_tensor(values).detach().double().cpu()
    if found.ndim != 1 or not len(found) or not bool(((found >= 0) & (found <= 1)).all()):
        raise SettingError(
            f"own_weight has shape {tuple(found.shape)}, but must be a list of shares in [0, 1]",
            "Give one for each step.",
        )
    return found


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
    alpha = _weight(given_weight, "given_weight")
    g, t = float(amounts(decay, "decay")), amounts(time, "time").to(values)
    gap = (values - g).abs()
    slower = damping(values.clamp(max=g), t)
    # lambda (e^-gt - e^-lambda t) / (lambda - g), with the slower of the two in front
    grown = torch.where(gap > 0, -torch.expm1(-damping(gap, t)) / torch.where(gap > 0, gap, 1.0), t[..., None])
    absorbed = alpha * values * torch.where(slower < torch.inf, (-slower).exp() * grown, 0.0)
    return absorbed, (-damping(values, t)).exp()
