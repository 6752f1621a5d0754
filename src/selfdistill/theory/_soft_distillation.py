"""Distilling one's own soft outputs during training: the present ones, the last epoch's, or their running mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory._modes import Amount, amounts, eigenvalues, filtered, shrinkage, steady_lr
from selfdistill.theory._spectrum import Spectrum

__all__ = ["averaged_distillation", "effective_time", "lagged_distillation", "soft_distillation"]


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
