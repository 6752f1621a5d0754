"""What is learned first: the time at which each example's label, and each class, is retrieved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.air._curves import margins
from selfdistill.air._flow import Flow, checked_labels
from selfdistill.air._interval import Interval

__all__ = ["LearningOrder", "learning_order"]


@dataclass(frozen=True, eq=False)
class LearningOrder:
    """When each example and each class is retrieved.

    Attributes:
        per_example: First time at which the label's margin exceeds the level, ``[n]``; infinite where it never does
            within the times looked at.
        per_class: First time at which half the examples of the class have got there, ``[C]``.
        level: The level.
    """

    per_example: Interval
    per_class: Interval
    level: float


def learning_order(flow: Flow, times: Tensor, labels: Tensor, *, level: float = 0.0) -> LearningOrder:
    r"""Find the first time at which the margin of a label exceeds a level.

    The margin is :math:`F_{iy} - \max_{c \ne y} F_{ic}`: above 0 the label is what the network would predict; 0.5 is
    half of the way to the one-hot target. Between two times the crossing is found by a straight line in the log of
    time.

    Args:
        flow: Kernel, targets and start.
        times: ``[t]``, increasing.
        labels: Labels whose retrieval is timed, given or true, int64 ``[n]``.
        level: Margin that counts as retrieved, below 1.

    Returns:
        Times with bounds: the earliest and the latest that the missing pairs leave possible.

    Raises:
        SettingError: A level of 1 or more, or times that do not increase.

    Example:
        >>> from selfdistill.theory import Spectrum
        >>> flow = Flow(Spectrum.of(torch.diag(torch.tensor([2.0, 1.0]))), torch.eye(2))
        >>> order = learning_order(flow, torch.logspace(-2, 2, 400), torch.tensor([0, 1]), level=0.5)
        >>> (order.per_example.low / torch.log(torch.tensor(2.0))).round(decimals=2).tolist()
        [0.5, 1.0]
    """
    labels = checked_labels(labels, flow, "labels")
    times = torch.as_tensor(times).double().reshape(-1)
    if not level < 1:
        raise SettingError(f"level is {level}, but a margin stays below 1", "Give 0 or 0.5.")
    if bool((times.diff() <= 0).any()) or float(times[0]) <= 0:
        raise SettingError("times do not increase from above 0", "Give them in order, such as default_times().")
    bounds = []
    shift = torch.nn.functional.one_hot(labels, flow.targets.shape[1]).double() * 2 - 1
    for outputs, radius in flow.over(times):
        bounds.append((margins(outputs - radius * shift, labels), margins(outputs + radius * shift, labels)))
    late = _crossing(torch.stack([low for low, _ in bounds]), times, level)
    early = _crossing(torch.stack([high for _, high in bounds]), times, level)
    classes = range(flow.targets.shape[1])
    median = [torch.stack([_half(side[labels == c]) for c in classes]) for side in (early, late)]
    return LearningOrder(Interval(early, late), Interval(*median), level)


def _crossing(path: Tensor, times: Tensor, level: float) -> Tensor:
    """First time at which each column of ``path [t, n]`` exceeds the level."""
    above = path > level
    index = above.float().argmax(0)
    before = (index - 1).clamp(min=0)
    at = torch.arange(path.shape[1])
    lower, upper = path[before, at], path[index, at]
    share = ((level - lower) / (upper - lower).clamp(min=1e-300)).clamp(0, 1)
    log = times.log()
    found = torch.where(index > 0, (log[before] + share * (log[index] - log[before])).exp(), times[0])
    return torch.where(above.any(0), found, torch.inf)


def _half(times: Tensor) -> Tensor:
    """Time by which at least half have got there; infinite for an empty class."""
    if not len(times):
        return torch.tensor(torch.inf, dtype=torch.float64)
    return times.sort().values[(len(times) + 1) // 2 - 1]
