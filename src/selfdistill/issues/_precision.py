"""How many of the flagged labels are really wrong, by those that somebody settled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A number, and 95 % of what it may be."""

    value: float
    low: float
    high: float


def precision(wrong: int, total: int) -> Interval:
    """Estimate a share from a count: Beta posterior with Jeffreys' prior."""
    a, b = wrong + 0.5, total - wrong + 0.5
    low, high = betaincinv(a, b, np.array(_TAILS))
    return Interval(a / (a + b), float(low), float(high))
