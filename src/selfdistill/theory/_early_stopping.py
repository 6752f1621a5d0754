"""How far training on noisy labels is expected to be from the truth, when it is nearest, and what would be nearer."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.theory._modes import Amount, eigenvalues, shrinkage, target_rows
from selfdistill.theory._spectrum import Spectrum

_GRID = 600  # times per search, at equal ratios


class StoppingTime(NamedTuple):
    """The time at which training is expected to be nearest to the truth.

    Attributes:
        time: In units of `gradient_flow`; infinite if training should never stop.
        risk: Expected squared distance then, summed over examples and classes.
    """

    time: float
    risk: float


def label_moments(labels: Tensor, transition: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of noisy one-hot labels.

    Given label j is drawn from row :math:`T_{y_i}`, so its one-hot vector has mean :math:`T_{y_i}` and, summed over
    classes, variance :math:`1 - \|T_{y_i}\|^2`. For labels of -1 and 1 that flip with probability ρ, take instead
    ``(1 - 2 * rho) * truth`` and ``4 * rho * (1 - rho)``.

    Args:
        labels: True labels, int64 ``[n]``.
        transition: ``T[clean, given]``, ``[C, C]``, rows sum to 1.

    Returns:
        ``expected``, float64 ``[n, C]``, and ``variance``, float64 ``[n]``, as the functions here take them.

    Raises:
        DataError: Rows that are no distributions, or labels out of range.

    Example:
        >>> expected, variance = label_moments(torch.tensor([0, 1]), torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
        >>> expected.tolist(), variance.tolist()
        ([[0.75, 0.25], [0.0, 1.0]], [0.375, 0.0])
    """
    rows = torch.as_tensor(transition).double()
    if (
        rows.ndim != 2
        or rows.shape[0] != rows.shape[1]
        or bool((rows < 0).any() | ((rows.sum(1) - 1).abs() > 1e-6).any())
    ):
        raise DataError(
            f"the transition matrix, of shape {tuple(rows.shape)}, must be square, with rows of shares that sum to 1",
            "Give T[clean, given]; the transpose has columns that sum to 1.",
        )
    if bool(((labels < 0) | (labels >= len(rows))).any()):
        raise DataError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, but the matrix has {len(rows)} classes",
            "Number the classes from 0.",
        )
    expected = rows[labels]
    return expected, 1 - (expected**2).sum(1)


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

    def best(self) -> Tensor:
        """The filter of least risk; 0 where there is neither signal nor noise."""
        total = self.signal + self.noise
        return torch.where(total > 0, self.ratio * self.signal / torch.where(total > 0, total, 1.0), 0.0)


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
        expected: Mean of the noisy labels, of the shape of the truth; see `label_moments`.
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


def best_filter(spectrum: Spectrum, truth: Tensor, expected: Tensor, variance: float | Tensor) -> Tensor:
    r"""Find the share of each eigendirection that brings the expected distance to its least.

    .. math:: s_i^* = \frac{\langle a_i, m_i\rangle}{\|m_i\|^2 + \sum_j V_{ji}^2\sigma_j^2}

    No training time reaches it in all directions at once. It exceeds 1 where labels shrink the truth and the direction
    is mostly signal: for labels of -1 and 1 that flip with probability ρ, up to :math:`1/(1-2\rho)`.

    Args:
        spectrum: Of K, complete.
        truth: y*, ``[n]`` or ``[n, C]``.
        expected: Mean of the noisy labels, of the shape of the truth.
        variance: Of a noisy label, summed over classes: one number, or ``[n]``.

    Returns:
        float64 ``[n]``, in the order of the spectrum; 0 where there is neither signal nor noise.

    Example:
        >>> truth = torch.tensor([2.0, 0.0])
        >>> best_filter(Spectrum.of(torch.diag(torch.tensor([2.0, 1.0]))), truth, expected=truth, variance=1.0)
        tensor([0.8000, 0.0000], dtype=torch.float64)
    """
    return Moments.of(spectrum, truth, expected, variance).best()


def best_times(spectrum: Spectrum, truth: Tensor, expected: Tensor, variance: float | Tensor) -> Tensor:
    r"""Find when each eigendirection by itself should stop: where its share reaches `best_filter`.

    .. math:: t_i^* = -\ln(1 - s_i^*)/\lambda_i

    For additive noise of variance :math:`\sigma^2` (``expected=truth``) that is
    :math:`\ln(1 + a_i^2/\sigma^2)/\lambda_i`.

    Args:
        spectrum: Of K, complete; units as in `gradient_flow`.
        truth: y*, ``[n]`` or ``[n, C]``.
        expected: Mean of the noisy labels, of the shape of the truth.
        variance: Of a noisy label, summed over classes: one number, or ``[n]``.

    Returns:
        float64 ``[n]``; 0 where the direction is better left alone, infinite where it should never stop or never moves.

    Example:
        >>> truth = torch.tensor([2.0, 0.0])
        >>> best_times(Spectrum.of(torch.diag(torch.tensor([2.0, 1.0]))), truth, expected=truth, variance=1.0)
        tensor([0.8047, 0.0000], dtype=torch.float64)
    """
    risk = Moments.of(spectrum, truth, expected, variance)
    share = risk.best().clamp(min=0)
    wait = torch.where(share < 1, -torch.log1p(-share.clamp(max=1)), torch.inf)
    return torch.where(share == 0, 0.0, wait / risk.values)
