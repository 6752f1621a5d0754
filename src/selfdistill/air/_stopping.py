"""When to stop, and how many labels look wrong: from noisy labels and a kernel alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.air._flow import Flow, margins
from selfdistill.air._measures import checked_times, learned
from selfdistill.theory import Spectrum

RULES = ("variance", "gcv", "left-out")  # what `stopping_time` can go by; none of them needs the truth
_EARLIEST, _LATEST = 0.42, 2.05
_LAST = 0.2  # share of the directions, from the end, that tell the noise
_HALF = 0.5  # an epoch is the middle of a unit: 0 is not infinitely early
_FLAT = 1.3  # of the fall, above which nothing supports a share
_BELOW, _ABOVE = 0.17, 0.14  # by how much the truth may lie below and above it: the largest errors of 36 runs


@dataclass(frozen=True, eq=False)
class Stop:
    """An estimate of the best time to stop."""

    rule: str  # by what
    time: float  # where the score is best
    times: Tensor  # where the score was taken, ``[t]``
    score: Tensor  # what is made small, ``[t]``


def stopping_time(flow: Flow, times: Tensor, given: Tensor, rule: str, *, variance: float | None = None) -> Stop:
    r"""Estimate when the predictions on the training examples are best.

    With :math:`S = I - e^{-Kt}` and df = tr S, the rules minimise

    - ``variance``: :math:`\|\tilde Y - F_t\|^2 + 2 \sigma^2 \mathrm{df}`, which is, but for a constant, an unbiased
      estimate of the squared distance to what the labels are on average (Mallows' :math:`C_p`). With a known noise
      matrix T and class shares :math:`\pi` give :math:`\sigma^2 = \sum_c \pi_c (1 - \sum_g T_{cg}^2)`; without, it is
      estimated from the directions that are learned last;
    - ``gcv``: :math:`\|\tilde Y - F_t\|^2 / (1 - \mathrm{df}/n)^2`, generalised cross-validation;
    - ``left-out``: the share of given labels that are not predicted from the other examples, each example's output
      taken as :math:`F_i - S_{ii} (\tilde Y_i - F_i) / (1 - S_{ii})`: exact for ridge regression, an approximation
      here. Where noise is even over classes, agreement with noisy labels on unseen examples is best where accuracy is.

    Args:
        flow: Kernel, given labels as targets, start.
        times: Where to look, ``[t]``, increasing.
        given: Given labels, int64 ``[n]``.
        rule: See above.
        variance: :math:`\sigma^2` per example, summed over columns.

    Returns:
        The estimate. Directions that the spectrum lacks count as never learned.

    Raises:
        SettingError: An unknown rule.

    References:
        Mallows (1973), Technometrics 15(4); Golub, Heath & Wahba (1979), Technometrics 21(2).

    Example:
        >>> flow = Flow(Spectrum.of(torch.eye(4)), torch.eye(2).repeat(2, 1))
        >>> stop = stopping_time(flow, torch.logspace(-1, 1, 9), torch.tensor([0, 1, 0, 1]), "variance", variance=0.0)
        >>> round(stop.time, 3)
        10.0
    """
    times = checked_times(times)
    if rule not in RULES:
        raise SettingError(f"rule {rule!r} is not one of {', '.join(RULES)}", "Choose one of them.")
    if rule == "left-out":
        score = _left_out(flow, times, torch.as_tensor(given).cpu())
    else:
        score = _penalised(flow, times, rule, variance)
    return Stop(rule, float(times[int(score.argmin())]), times, score)


def _penalised(flow: Flow, times: Tensor, rule: str, variance: float | None) -> Tensor:
    spectrum, residual = flow.spectrum, flow.targets.double() - flow.begin
    filters = learned(spectrum.values, times)
    energy = spectrum.coefficients(residual).square().sum(1)
    fit, degrees = (1 - filters).square() @ energy, filters.sum(1)
    if not spectrum.complete:
        fit = fit + (residual.square().sum() - energy.sum()).clamp(min=0)
    if rule == "gcv":
        return fit / (1 - degrees / spectrum.size).clamp(min=1e-9).square()
    return fit + 2 * (label_noise_variance(spectrum, residual) if variance is None else variance) * degrees


def _left_out(flow: Flow, times: Tensor, given: Tensor) -> Tensor:
    weight, targets, wrong = flow.spectrum.vectors.square(), flow.targets.double(), []
    for s, outputs in zip(learned(flow.spectrum.values, times), flow.over(times), strict=True):
        own = weight @ s
        without = outputs - (own / (1 - own).clamp(min=1e-9))[:, None] * (targets - outputs)
        wrong.append(1 - (margins(without, given) > 0).double().mean())
    return torch.stack(wrong)


def epoch_of_agreement(agreement: Tensor, level: float, epochs: Tensor | None = None) -> float:
    """After how many epochs measured training reaches the agreement predicted for the time to stop; or infinity."""
    # The clock of a network whose kernel grows runs fast; what share of the given labels is fitted at the best moment
    # depends on it far less. Between two measurements a straight line is drawn.
    there = (agreement >= level).nonzero().flatten()
    if not len(there):
        return float("inf")
    at, when = int(there[0]), torch.arange(len(agreement)).double() if epochs is None else epochs.double()
    if at == 0:
        return float(when[0])
    before, after = float(agreement[at - 1]), float(agreement[at])
    return float(when[at - 1] + (level - before) / (after - before) * (when[at] - when[at - 1]))


class StoppingEpoch(NamedTuple):
    """An epoch to stop at."""

    epoch: float  # epochs done, with a fraction
    earliest: float  # the best epoch was earlier than this in a twelfth of the runs that the range was made from
    latest: float  # it was later than this in another twelfth


def stopping_epoch(estimates: Sequence[float], epochs: int) -> StoppingEpoch:
    """Combine estimates of the best epoch, of which infinite ones count as the last, into a median and its range."""
    # The rules of `stopping_time`, each read off the run's agreement curve and off its fitted clock, disagree most
    # where one of them fails; their median loses less than any of them. The range is measured and not derived: 36 runs
    # of small networks gave its two factors; in 36 runs on other data it held the best epoch in 81 %
    # (docs/decisions/0021).
    if not estimates:
        raise SettingError("there are no estimates of the epoch to stop at", "Give at least one.")
    epoch = median(min(one, float(epochs)) for one in estimates)
    low, high = ((epoch + _HALF) * factor - _HALF for factor in (_EARLIEST, _LATEST))
    return StoppingEpoch(epoch, max(low, 0.0), min(high, float(epochs)))


def wrong_share(variance: float, classes: int) -> float:
    """Share of wrong labels that symmetric noise would need for a variance per example, summed over columns."""
    # It solves variance = 1 - (1 - r)² - r² / (C - 1) for the smaller root; at most (C - 1)/C, where labels say
    # nothing.
    a = classes / (classes - 1)
    return float(1 - max(1 - a * max(variance, 0.0), 0.0) ** 0.5) / a


def label_noise_variance(spectrum: Spectrum, residual: Tensor) -> float:
    """Estimate the noise variance, per example and summed over columns, from the directions that are learned last."""
    # Signal lies in leading directions and noise in all alike, so the mean energy per direction of the last share of
    # them is nearly that of the noise. What signal is left there biases it upwards. Where the spectrum stops earlier,
    # all that it lacks is taken.
    n = spectrum.size
    first = min(round((1 - _LAST) * n), len(spectrum.values), n - 1)
    residual = torch.as_tensor(residual).double()
    held = spectrum.coefficients(residual)
    energy = held[first:].square().sum()
    if not spectrum.complete:
        energy = energy + (residual.square().sum() - held.square().sum()).clamp(min=0)
    return float(energy) / (n - first)


class NoiseShare(NamedTuple):
    """A share of wrong labels with a range."""

    share: float  # by `wrong_share`
    low: float  # in none of the runs that the range was made from was the true share below this
    high: float  # nor was it above this in any


def tail_fall(spectrum: Spectrum, residual: Tensor) -> float | None:
    """Say how far the label energy falls over the later directions."""
    if not spectrum.complete or spectrum.size < 5:
        return None
    energy = spectrum.coefficients(torch.as_tensor(residual).double()).square().sum(1)
    parts = [float(part.mean()) for part in energy.tensor_split(5)]
    return parts[1] / max(parts[4], 1e-300)


def noise_share(spectrum: Spectrum, residual: Tensor, classes: int) -> NoiseShare | None:
    """Estimate the share of wrong labels with its range; ``None`` where nothing supports an estimate."""
    # Errors that follow from the inputs, such as those of labelling rules, lie in leading directions like right labels:
    # the last directions then hold little energy and would tell few errors where there are many. There the energy keeps
    # falling, and no share is told (docs/decisions/0021 and 0027).
    fall = tail_fall(spectrum, residual)
    if fall is None or fall > _FLAT:
        return None
    share = wrong_share(label_noise_variance(spectrum, residual), classes)
    return NoiseShare(share, max(share - _BELOW, 0.0), min(share + _ABOVE, 1.0))
