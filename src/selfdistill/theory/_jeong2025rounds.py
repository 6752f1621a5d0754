"""How many rounds of self-distillation set all labels right, for features whose similarities take two values."""

from __future__ import annotations

import math

from selfdistill._core.errors import SettingError

__all__ = ["rounds_to_clean"]


def rounds_to_clean(
    per_class: int, classes: int, *, intra: float, inter: float, penalty: float, dominance: float
) -> float:
    r"""Rounds of retraining a linear softmax probe on its own outputs after which every example is classified rightly.

    Each class has n examples; two of them have inner product c, those of different classes d, each with itself 1.
    Linearised about uniform outputs, a round multiplies the eigendirections of the Gram matrix with eigenvalue μ by
    :math:`\mu / (\mu + K^2 n \lambda)`. With p that of the differences of classes, :math:`\mu = 1 - c + n(c - d)`, q
    that of single examples, :math:`\mu = 1 - c`, and D the least difference between the share of right labels of a
    class and that of any wrong one, all are right after t rounds if

    .. math:: t > \frac{\ln\bigl((1 + D)/D\bigr)}{\ln(p/q)} .

    The form of a round is that of the code beside the paper; the filter and the count are our derivation.

    Args:
        per_class: n.
        classes: K, at least 2.
        intra: c, with d < c < 1.
        inter: d.
        penalty: λ of the probe's weight decay, above 0.
        dominance: D, above 0 and at most 1. If a class keeps a share 1 - r of its labels and the rest is spread evenly,
            1 - r - r / (K - 1).

    Returns:
        The number that t must exceed.

    Raises:
        SettingError: A value out of its range.

    References:
        Jeong & Chung (2025), ICLR.

    Example:
        >>> round(rounds_to_clean(100, 4, intra=0.4, inter=0.1, penalty=5e-5, dominance=0.33), 2)
        11.37
    """
    for name, value, fine, limit in (
        ("per_class", per_class, per_class >= 1, "at least 1"),
        ("classes", classes, classes >= 2, "at least 2"),
        ("intra", intra, inter < intra < 1, f"between inter = {inter} and 1"),
        ("penalty", penalty, penalty > 0, "above 0"),
        ("dominance", dominance, 0 < dominance <= 1, "above 0 and at most 1: right labels must outnumber any other"),
    ):
        if not fine:
            raise SettingError(f"{name} is {value}, but must be {limit}", f"Give another {name}.")
    ridge = classes**2 * per_class * penalty
    single = 1 - intra
    between = single + per_class * (intra - inter)
    ratio = (between / (between + ridge)) / (single / (single + ridge))
    return math.log((1 + dominance) / dominance) / math.log(ratio)
