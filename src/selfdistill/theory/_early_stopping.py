"""How far training on noisy labels is expected to be from the truth, when it is nearest, and what would be nearer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory._spectrum import Amount, Spectrum, eigenvalues, shrinkage, target_rows

_GRID = 600  # times per search, at equal ratios


class StoppingTime(NamedTuple):
    """The time at which training is expected to be nearest to the truth."""

    time: float  # in units of `gradient_flow`; infinite if training should never stop
    risk: float  # expected squared distance then, summed over examples and classes


class Moments(NamedTuple):
    """The risk of a filter s as a sum over eigendirections: (s - ratio)² signal + s² noise + off."""

    values: Tensor  # eigenvalues
    ratio: Tensor  # how much of the expected labels' coefficients the truth has
    signal: Tensor  # squared coefficients of the expected labels, summed over classes
    noise: Tensor  # variance of the coefficients, summed over classes
    off: Tensor  # squared part of the truth across the expected labels, which no filter reaches

    @classmethod
    def of(cls, spectrum: Spectrum, truth: Tensor, expected: Tensor, variance: float | Tensor) -> Moments:
        """Project truth and noise, having checked that they fit."""
        values, n = eigenvalues(spectrum), spectrum.size
        clean, mean = target_rows(spectrum, truth, "truth"), target_rows(spectrum, expected, "expected")
        if clean.shape != mean.shape:
            raise DataError(
                f"expected has shape {tuple(mean.shape)}, but truth has {tuple(clean.shape)}",
                "Give both with the same shape.",
            )
        spread = torch.as_tensor(variance, dtype=torch.float64).to(clean.device)
        if spread.ndim > 1 or (spread.ndim == 1 and len(spread) != n) or not bool((spread >= 0).all()):
            raise SettingError(
                f"variance has shape {tuple(spread.shape)} and least value {float(spread.min()):g}, "
                f"but must be one number or [{n}], 0 or more",
                "Sum it over the classes.",
            )
        a, m = (spectrum.vectors.T @ z.reshape(n, -1) for z in (clean, mean))
        signal = (m**2).sum(1)
        ratio = torch.where(signal > 0, (a * m).sum(1) / torch.where(signal > 0, signal, 1.0), 0.0)
        noise = spread.expand(n) if spread.ndim == 0 else (spectrum.vectors**2).T @ spread
        return cls(values, ratio, signal, noise, ((a - ratio[:, None] * m) ** 2).sum(1))

    def at(self, share: Tensor) -> Tensor:
        """Risk of a filter ``[..., n]``."""
        return ((share - self.ratio) ** 2 * self.signal + share**2 * self.noise).sum(-1) + self.off.sum()


def early_stopping_risk(
    spectrum: Spectrum, truth: Tensor, time: Amount, expected: Tensor, variance: float | Tensor
) -> Tensor:
    r"""Expected squared distance to the truth after training on noisy labels for a time, from outputs of 0.

    With labels y of mean m and independent rows of total variance :math:`\sigma_j^2`,

    .. math::

        \mathbb E\|f_t - y^*\|^2 = \sum_i \|a_i - s_i m_i\|^2 + s_i^2 \sum_j V_{ji}^2 \sigma_j^2, \qquad
        s_i = 1 - e^{-\lambda_i t}

    with :math:`a_i, m_i` the coefficients of truth and mean. With labels at hand, pass them as ``expected`` with
    ``variance=0``: the result is then the squared distance of that very training.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        truth: y*, ``[n]`` or ``[n, C]``.
        time: 0 or more, in units of `gradient_flow`; several at once as a list or ``[T]``.
        expected: Mean of the noisy labels, of the shape of the truth: rows ``transition[labels]`` of the transition
            matrix; for labels of -1 and 1 that flip with probability ρ, ``(1 - 2 * rho) * truth``.
        variance: Of a noisy label, summed over classes: one number, or ``[n]``.

    Returns:
        float64, scalar or ``[T]``; divide by n for the mean over examples. Cost: ``4 n² C`` FLOPs once, ``6 n`` per
        time.

    Example:
        >>> kernel, truth = Spectrum.of(torch.diag(torch.tensor([1.0, 0.01]))), torch.tensor([2.0, 0.0])
        >>> early_stopping_risk(kernel, truth, [0.0, 3.0, 1e9], expected=truth, variance=1.0).round(decimals=2)
        tensor([4.0000, 0.9100, 2.0000], dtype=torch.float64)
    """
    risk = Moments.of(spectrum, truth, expected, variance)
    return risk.at(shrinkage(risk.values, time, None))


def best_stopping_time(spectrum: Spectrum, truth: Tensor, expected: Tensor, variance: float | Tensor) -> StoppingTime:
    """Find when `early_stopping_risk` is least, over all times from 0 to infinity.

    The risk may have several minima: 600 times at equal ratios find the best of them, from where nothing is learned
    to where everything is, and Brent's method refines it.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        truth: y*, ``[n]`` or ``[n, C]``.
        expected: Mean of the noisy labels; or the labels themselves, with ``variance=0``.
        variance: Of a noisy label, summed over classes: one number, or ``[n]``.

    Returns:
        Time, to about 1e-6 of itself, and risk.

    Example:
        >>> kernel, truth = Spectrum.of(torch.diag(torch.tensor([1.0, 0.01]))), torch.tensor([2.0, 0.0])
        >>> best_stopping_time(kernel, truth, expected=truth, variance=1.0)
        StoppingTime(time=1.60..., risk=0.800...)
    """
    risk = Moments.of(spectrum, truth, expected, variance)
    positive = risk.values[risk.values > 0]
    ends = {t: float(risk.at(shrinkage(risk.values, t, None))) for t in (0.0, math.inf)}
    best = min(ends, key=ends.__getitem__)
    if not len(positive):
        return StoppingTime(0.0, ends[0.0])
    low, high = math.log(1e-6 / float(positive[0])), math.log(50 / float(positive[-1]))
    grid = torch.linspace(low, high, _GRID, dtype=torch.float64)

    def at(log_time: float) -> float:
        return float(risk.at(shrinkage(risk.values, math.exp(log_time), None)))

    found = torch.stack([risk.at(shrinkage(risk.values, part, None)) for part in grid.exp()])
    centre = float(grid[int(found.argmin())])
    step = (high - low) / (_GRID - 1)
    inner = minimize_scalar(at, bounds=(centre - step, centre + step), method="bounded", options={"xatol": 1e-9})
    if inner.fun < ends[best] * (1 - 1e-12):
        return StoppingTime(math.exp(inner.x), float(inner.fun))
    return StoppingTime(best, ends[best])
