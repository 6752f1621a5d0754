"""When to stop: with the truth, with a known noise matrix, and from noisy labels alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.air._flow import Flow
from selfdistill.air._interval import Interval
from selfdistill.air._labels import one_hot, symmetric_matrix
from selfdistill.air._retrieval import checked_times, learned
from selfdistill.theory import Spectrum

__all__ = ["RULES", "Stop", "epoch_of_agreement", "label_noise_variance", "stopping_time", "wrong_share"]

RULES = ("accuracy", "truth", "variance", "gcv", "left-out")
"""What `stopping_time` can go by; the first two need the truth, the last two nothing."""


@dataclass(frozen=True, eq=False)
class Stop:
    """An estimate of the best time to stop.

    Attributes:
        rule: By what.
        time: Where the middle of the score is best.
        earliest: First time that may be best, whatever the missing pairs hold.
        latest: Last such time.
        times: Where the score was taken, ``[t]``.
        score: What is made small, ``[t]``.
    """

    rule: str
    time: float
    earliest: float
    latest: float
    times: Tensor
    score: Interval


def wrong_share(variance: float, classes: int) -> float:
    r"""Turn a noise variance into the share of wrong labels that symmetric noise would need for it.

    Solves :math:`\sigma^2 = 1 - (1 - r)^2 - r^2 / (C - 1)` for its smaller root.

    Args:
        variance: Per example, summed over columns.
        classes: C.

    Returns:
        r, at most (C - 1)/C, where labels say nothing.

    Example:
        >>> round(wrong_share(0.375, 2), 6)
        0.25
    """
    a = classes / (classes - 1)
    return float(1 - max(1 - a * max(variance, 0.0), 0.0) ** 0.5) / a


def label_noise_variance(spectrum: Spectrum, residual: Tensor, share: float = 0.2) -> float:
    r"""Estimate the noise variance from the directions that are learned last.

    Signal lies in leading directions and noise in all alike, so the mean energy per direction of the last ones is
    nearly that of the noise. What signal is left there biases it upwards.

    Args:
        spectrum: Eigenpairs.
        residual: Given labels less the starting outputs, ``[n, C]``.
        share: Share of the directions, from the end; where the spectrum stops earlier, all that it lacks.

    Returns:
        Noise energy per example, summed over columns.

    Raises:
        SettingError: A share outside (0, 1).

    Example:
        >>> noise = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
        >>> round(label_noise_variance(Spectrum.of(torch.diag(torch.arange(400.0) + 1)), noise, 0.9), 1)
        1.0
    """
    if not 0 < share < 1:
        raise SettingError(f"share is {share}, but must be in (0, 1)", "Leave it out.")
    n = spectrum.size
    first = min(round((1 - share) * n), len(spectrum.values))
    residual = torch.as_tensor(residual).double()
    held = spectrum.coefficients(residual)
    energy = held[first:].square().sum()
    if not spectrum.complete:
        energy = energy + (residual.square().sum() - held.square().sum()).clamp(min=0)
    return float(energy) / (n - first)


def stopping_time(
    flow: Flow,
    times: Tensor,
    given: Tensor,
    rule: str,
    *,
    truth: Tensor | None = None,
    variance: float | None = None,
) -> Stop:
    r"""Estimate when the predictions on the training examples are best.

    With :math:`S = I - e^{-Kt}` and df = tr S, the rules minimise

    - ``accuracy``: the share of wrong predictions on the training examples; needs the truth;
    - ``truth``: :math:`\|F_t - Y\|^2`; needs the truth;
    - ``variance``: :math:`\|\tilde Y - F_t\|^2 + 2 \sigma^2 \mathrm{df}`, which is, but for a constant, an unbiased
      estimate of the squared distance to what the labels are on average (Mallows' :math:`C_p`). With a known noise
      matrix give its `noise_variance`; without, :math:`\sigma^2` comes from `label_noise_variance`;
    - ``gcv``: :math:`\|\tilde Y - F_t\|^2 / (1 - \mathrm{df}/n)^2`, generalised cross-validation;
    - ``left-out``: the share of given labels that are not predicted from the other examples, each example's output
      taken as :math:`F_i - S_{ii} (\tilde Y_i - F_i) / (1 - S_{ii})`: exact for ridge regression, an approximation
      here. Where noise is even over classes, agreement with noisy labels on unseen examples is best where accuracy is.

    Args:
        flow: Kernel, given labels as targets, start.
        times: Where to look, ``[t]``, increasing.
        given: Given labels, int64 ``[n]``.
        rule: See above.
        truth: True labels, int64 ``[n]``.
        variance: :math:`\sigma^2` per example, summed over columns.

    Returns:
        The estimate; the range reaches over all times that may be best given what missing pairs leave open.

    Raises:
        SettingError: An unknown rule, or one that needs the truth without it.

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
    if rule in RULES[:2] and truth is None:
        raise SettingError(f"rule {rule!r} needs the true labels", "Give truth=, or choose variance, gcv or left-out.")
    if rule == "variance" and variance is None:
        variance = label_noise_variance(flow.spectrum, flow.targets.double() - flow.begin)
    if rule in {"variance", "gcv"}:
        score = _penalised(flow, times, rule, variance or 0.0)
    elif rule == "left-out":
        score = _left_out(flow, times, given)
    else:
        score = _with_truth(flow, times, rule, torch.as_tensor(truth))
    best = int(score.middle.argmin())
    may = (score.low <= score.high.min()).nonzero().flatten()
    return Stop(rule, float(times[best]), float(times[may[0]]), float(times[may[-1]]), times, score)


def _with_truth(flow: Flow, times: Tensor, rule: str, truth: Tensor) -> Interval:
    from selfdistill.air._curves import predicted_curves

    curves = predicted_curves(flow, times, truth, truth)
    found = curves.accuracy if rule == "accuracy" else curves.distance
    assert found is not None
    return Interval(1 - found.high, 1 - found.low) if rule == "accuracy" else found


def _degrees(spectrum: Spectrum, filters: Tensor) -> Interval:
    """Bounds of tr S: missing eigenvalues lie between 0 and the last, and sum to what the trace leaves."""
    low = filters.sum(1)
    missing = spectrum.size - len(spectrum.values)
    if not missing:
        return Interval.exact(low)
    top = float(spectrum.values[-1])
    rest = min(max(spectrum.trace - float(spectrum.values.sum()), 0.0), missing * top)
    if top <= 0 or rest <= 0:
        return Interval.exact(low)
    even = filters.new_tensor(rest / missing)
    times = -torch.log1p(-filters[:, -1].clamp(max=1 - 1e-16)) / top
    return Interval(low + rest / top * filters[:, -1], low - missing * torch.expm1(-times * even))


def _penalised(flow: Flow, times: Tensor, rule: str, variance: float) -> Interval:
    spectrum, n = flow.spectrum, flow.spectrum.size
    residual = flow.targets.double() - flow.begin
    filters = learned(spectrum.values, times)
    energy = spectrum.coefficients(residual).square().sum(1)
    rest = (residual.square().sum() - energy.sum()).clamp(min=0) * (not spectrum.complete)
    left = (1 - filters).square() @ energy
    fit, degrees = Interval(left + (1 - filters[:, -1]).square() * rest, left + rest), _degrees(spectrum, filters)
    if rule == "variance":
        return Interval(fit.low + 2 * variance * degrees.low, fit.high + 2 * variance * degrees.high)
    room = [(1 - d / n).clamp(min=1e-9).square() for d in degrees]
    return Interval(fit.low / room[0], fit.high / room[1])


def _left_out(flow: Flow, times: Tensor, given: Tensor) -> Interval:
    spectrum, labels = flow.spectrum, torch.as_tensor(given).cpu()
    filters = learned(spectrum.values, times)
    weight = spectrum.vectors.square()
    outside = (1 - weight.sum(1)).clamp(min=0) * (not spectrum.complete)
    targets = flow.targets.double()
    wrong = []
    for s, (outputs, radius) in zip(filters, flow.over(times), strict=True):
        bounds = []
        own = weight @ s
        for leverage in (own, own + s[-1] * outside):
            ratio = (leverage / (1 - leverage).clamp(min=1e-9))[:, None]
            without = outputs - ratio * (targets - outputs)
            bounds.append((without, radius * (1 + ratio)))
        middle, spread = (bounds[0][0] + bounds[1][0]) / 2, (bounds[0][0] - bounds[1][0]).abs() / 2 + bounds[1][1]
        shift = one_hot(labels, targets.shape[1]) * 2 - 1
        low = _lead(middle - spread * shift, labels)
        wrong.append((1 - _lead(middle + spread * shift, labels), 1 - low))
    return Interval(*(torch.stack(side) for side in zip(*wrong, strict=True)))


def _lead(outputs: Tensor, labels: Tensor) -> Tensor:
    from selfdistill.air._curves import margins

    return (margins(outputs, labels) > 0).double().mean()


def known_rate_variance(wrong: float, classes: int) -> float:
    """Noise variance of symmetric noise with a known share of wrong labels.

    Args:
        wrong: Share of labels that differ from the truth.
        classes: C.

    Returns:
        Per example, summed over columns.

    Example:
        >>> round(known_rate_variance(0.25, 2), 6)
        0.375
    """
    return float(1 - symmetric_matrix(classes, wrong)[0].square().sum())


def epoch_of_agreement(agreement: Tensor, level: float, epochs: Tensor | None = None) -> float:
    """Find when measured training reaches the agreement that is predicted for the time to stop.

    The clock of a network whose kernel grows runs fast; what share of the given labels is fitted at the best moment
    depends on it far less.

    Args:
        agreement: Share of training examples predicted as given, at first and after each epoch, ``[m]``.
        level: The share at the time to stop.
        epochs: When each was measured, ``[m]``; 0, 1, 2, ... if left out.

    Returns:
        Epochs, with a fraction on a straight line; infinite if it is never reached.

    Example:
        >>> epoch_of_agreement(torch.tensor([0.0, 0.5, 0.75]), 0.625)
        1.5
    """
    there = (agreement >= level).nonzero().flatten()
    if not len(there):
        return float("inf")
    at, when = int(there[0]), torch.arange(len(agreement)).double() if epochs is None else epochs.double()
    if at == 0:
        return float(when[0])
    before, after = float(agreement[at - 1]), float(agreement[at])
    return float(when[at - 1] + (level - before) / (after - before) * (when[at] - when[at - 1]))
