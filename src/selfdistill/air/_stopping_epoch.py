"""The epoch to stop a run at: the median of all estimates that need no truth, and how far off it may be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from selfdistill._core.errors import SettingError

__all__ = ["StoppingEpoch", "stopping_epoch"]

_EARLIEST, _LATEST = 0.42, 2.05
_HALF = 0.5  # an epoch is the middle of a unit: 0 is not infinitely early


class StoppingEpoch(NamedTuple):
    """An epoch to stop at.

    Attributes:
        epoch: Epochs done, with a fraction.
        earliest: The best epoch was earlier than this in a twelfth of the runs that the range was made from.
        latest: It was later than this in another twelfth.
    """

    epoch: float
    earliest: float
    latest: float


def stopping_epoch(estimates: Sequence[float], epochs: int) -> StoppingEpoch:
    """Combine estimates of the best epoch.

    The rules of `stopping_time` that need no truth, each read off the run's agreement curve and off its fitted clock,
    disagree most where one of them fails; their median loses less than any of them. The range is measured and not
    derived: 36 runs of small networks gave its two factors; in 36 runs on other data it held the best epoch in 81 %.

    Args:
        estimates: Epochs; infinite where the run never got there, which counts as its last epoch.
        epochs: Epochs of the run.

    Returns:
        The median and its range, within 0 and ``epochs``.

    Raises:
        SettingError: No estimates.

    References:
        ``docs/decisions/0021-the-median-of-six-stopping-epochs.md``.

    Example:
        >>> found = stopping_epoch([3.0, 4.0, 5.0, 6.0, float("inf"), float("inf")], 40)
        >>> found.epoch, round(found.earliest, 1), round(found.latest, 1)
        (5.5, 2.0, 11.8)
    """
    if not estimates:
        raise SettingError("there are no estimates of the epoch to stop at", "Give at least one.")
    epoch = median(min(one, float(epochs)) for one in estimates)
    low, high = ((epoch + _HALF) * factor - _HALF for factor in (_EARLIEST, _LATEST))
    return StoppingEpoch(epoch, max(low, 0.0), min(high, float(epochs)))
