"""Which labels are called wrong: a cut-off that follows the estimated noise, not a fixed number."""

from __future__ import annotations

import numpy as np

__all__ = ["flag"]


def flag(expected: float, agrees: np.ndarray, quality: np.ndarray) -> np.ndarray:
    r"""Flag as many labels as are expected to be wrong.

    Flagged are the :math:`\hat N` examples that come first when those whose refined label differs from the given one
    stand before the others, each by rising quality. So the number flagged estimates the number wrong, and a flagged
    label mostly has a better one; where it has none (refined = given), it is doubted and no other is known.

    By how much the number misses on known noise stands in ``docs/decisions/0008-which-labels-are-called-wrong.md``.
    Cost: a sort of n numbers.

    Args:
        expected: :math:`\hat N`, the expected number of wrong labels; see `NoiseEstimate.wrong`.
        agrees: Whether the refined label is the given one, bool ``[n]``.
        quality: Low = bad, ``[n]``.

    Returns:
        bool ``[n]``, true for the nearest whole number of examples.

    Example:
        >>> p = np.array([0.1, 0.9, 0.6, 0.5])  # probability of the given label: 0.9 + 0.1 + 0.4 + 0.5 are wrong
        >>> flag((1 - p).sum(), p > 0.45, p).tolist()
        [True, False, False, True]
    """
    flagged = np.zeros(len(quality), dtype=bool)
    flagged[np.lexsort((quality, agrees))[: int(np.rint(expected))]] = True
    return flagged
