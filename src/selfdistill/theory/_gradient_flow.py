"""Training in the kernel regime in closed form: gradient flow, gradient descent, ridge regression."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.theory._spectrum import (
    Amount,
    Spectrum,
    amounts,
    damping,
    eigenvalues,
    filtered,
    shrinkage,
    steady_lr,
    target_rows,
)


def gradient_flow(spectrum: Spectrum, targets: Tensor, time: Amount, start: Tensor | None = None) -> Tensor:
    r"""Outputs on the training examples after training for a time with infinitely small steps.

    .. math:: \frac{df}{dt} = -K (f - y), \qquad f_t = e^{-Kt} f_0 + (I - e^{-Kt})\, y

    Units: K is the matrix whose spectrum is given. For the loss :math:`\tfrac12\sum_i \|f_i - y_i\|^2` that is the
    tangent kernel itself, and time = learning rate × steps. For the mean over the n examples, give
    ``Spectrum.of(kernel / n)``; time is then again learning rate × steps.

    Args:
        spectrum: Of K, complete.
        targets: y, ``[n]`` or ``[n, C]``; each column has the same kernel.
        time: t, 0 or more; ``math.inf`` is allowed; several at once as a list or ``[T]``.
        start: f₀, of the shape of y; 0 if left out.

    Returns:
        float64, of the shape of y, or ``[T, ...]`` for several times. Cost: ``2 n² C (T + 1)`` FLOPs.

    References:
        Jacot, Gabriel & Hongler (2018), arXiv 1806.07572, section 5 (least-squares regression).

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([1.0, 0.01])))
        >>> gradient_flow(kernel, torch.tensor([1.0, 1.0]), [0.0, 5.0, 1000.0]).round(decimals=3)
        tensor([[0.0000, 0.0000],
                [0.9930, 0.0490],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    return filtered(spectrum, shrinkage(eigenvalues(spectrum), time, None), targets, start)


def gradient_descent(
    spectrum: Spectrum, targets: Tensor, lr: float, steps: Amount, start: Tensor | None = None
) -> Tensor:
    r"""Outputs on the training examples after steps of gradient descent.

    .. math:: f_{k+1} = f_k - \eta K (f_k - y), \qquad f_k = y + (I - \eta K)^k (f_0 - y)

    Units: as in `gradient_flow`; for the mean loss give the spectrum of K/n.

    Args:
        spectrum: Of K, complete.
        targets: y, ``[n]`` or ``[n, C]``.
        lr: η, above 0 and at most 2 over the largest eigenvalue.
        steps: k, whole numbers; several at once as a list or ``[T]``.
        start: f₀, of the shape of y; 0 if left out.

    Returns:
        float64, of the shape of y, or ``[T, ...]`` for several numbers of steps. Cost: ``2 n² C (T + 1)`` FLOPs,
        however many the steps.

    References:
        Arora, Du, Hu, Li & Wang (2019), arXiv 1901.08584, section 4 (the residual).

    Example:
        >>> kernel = Spectrum.of(torch.diag(torch.tensor([1.0, 0.5])))
        >>> gradient_descent(kernel, torch.tensor([1.0, 1.0]), lr=1.0, steps=2)
        tensor([1.0000, 0.7500], dtype=torch.float64)
    """
    values = eigenvalues(spectrum)
    rate = values * steady_lr(values, lr)
    count = amounts(steps, "steps", whole=True).to(values)
    below = torch.log1p(-rate.clamp(max=1))  # log |1 - rate|; 1 - rate itself would lose digits of small rates
    above = torch.log((rate - 1).clamp(min=0))
    size = torch.where(rate <= 1, below, above)
    exponent = damping(torch.where(size == 0, 0.0, -size), count)
    share = -torch.expm1(-exponent)
    swung = 1 + torch.exp(-exponent)  # odd steps beyond 1 / lambda land on the other side
    odd = (count % 2 == 1)[..., None] & (rate > 1)
    return filtered(spectrum, torch.where(odd, swung, share), targets, start)


def ridge(spectrum: Spectrum, targets: Tensor, penalty: Amount) -> Tensor:
    r"""Outputs on the training examples of kernel ridge regression.

    .. math:: f = K (K + c I)^{-1} y, \qquad \text{minimising } \tfrac12\|f - y\|^2 + \tfrac c2\, f^\top K^{-1} f

    Args:
        spectrum: Of K, complete.
        targets: y, ``[n]`` or ``[n, C]``.
        penalty: c, above 0, in units of K's eigenvalues; several at once as a list or ``[T]``.

    Returns:
        float64, of the shape of y, or ``[T, ...]`` for several penalties.

    Example:
        >>> ridge(Spectrum.of(torch.eye(2)), torch.tensor([1.0, 2.0]), penalty=1.0)
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return filtered(spectrum, shrinkage(eigenvalues(spectrum), None, penalty), targets)


def extend(spectrum: Spectrum, change: Tensor, cross: Tensor) -> Tensor:
    """Carry what training changed, ``[n]``, ``[n, C]`` or ``[T, n, C]``, to m other inputs by ``cross`` ``[m, n]``."""
    # Whatever the targets were, training moves outputs within the span of the kernel: by K a on the training examples
    # and by K_* a on others, so f_*(t) - f_*(0) = K_* K^+ (f(t) - f(0)). Directions with eigenvalue 0, up to rounding,
    # are left out; rounding costs at most about 1e-8 of the change.
    values, n = eigenvalues(spectrum), spectrum.size
    between = torch.as_tensor(cross).detach().to(spectrum.vectors)
    if between.ndim != 2 or between.shape[1] != n:
        raise DataError(
            f"cross has shape {tuple(between.shape)}, but must be [m, {n}]",
            "Give other inputs as rows, training ones as columns.",
        )
    if change.ndim == 3:
        return torch.stack([extend(spectrum, part, cross) for part in change])
    rows = target_rows(spectrum, change, "change")
    inverse = torch.where(values > 0, 1 / values, 0.0)
    weights = (spectrum.vectors.T @ rows.reshape(n, -1)) * inverse[:, None]
    return ((between @ spectrum.vectors) @ weights).reshape(len(between), *rows.shape[1:])
