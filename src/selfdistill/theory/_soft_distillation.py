"""Distilling one's own outputs during training: present, last epoch's or averaged soft ones, and settled hard ones."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory._spectrum import (
    Amount,
    Spectrum,
    amounts,
    damping,
    eigenvalues,
    filtered,
    start_rows,
    steady_lr,
    target_rows,
)


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
