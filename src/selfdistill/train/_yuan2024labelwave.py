"""The epoch before a network begins to fit single labels, seen from how many predictions change."""

from __future__ import annotations

from itertools import pairwise

from selfdistill.train._method import Curves

__all__ = ["first_trough"]

_WINDOW = 3
_SAME = 1e-9  # averages of equal shares, summed in another order


def first_trough(curves: Curves, window: int = _WINDOW) -> bool:
    r"""Say whether the last epoch is the lowest yet on the way to the first trough of changing predictions.

    ``changed_share`` is the share of examples whose predicted class is another than in the epoch before. It falls while
    the network learns what is common to many examples, and rises when it turns to single labels. The moving average
    over ``window`` epochs decides; once it has risen, nothing is kept any more.

    Args:
        curves: Metrics of each epoch; ``changed_share`` is looked at.
        window: Epochs of the moving average; the shorter start is averaged over what there is.

    Returns:
        Whether to keep this epoch's weights.

    References:
        Yuan, Feng & Liu (2024), "Early Stopping Against Label Noise Without Validation Data", ICLR. The public code
        logs the number of changes only; the rule for its first minimum is ours.

    Example:
        >>> falling, risen = [1.0, 0.5, 0.3], [1.0, 0.5, 0.3, 0.9, 0.1]
        >>> [first_trough([{"changed_share": x} for x in shares], 1) for shares in (falling, risen)]
        [True, False]
    """
    shares = [epoch["changed_share"] for epoch in curves]
    parts = [shares[max(0, end - window) : end] for end in range(1, len(shares) + 1)]
    smooth = [sum(part) / len(part) for part in parts]
    return all(earlier - later > _SAME for earlier, later in pairwise(smooth))
