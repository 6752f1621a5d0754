"""Stop before the network begins to fit single labels (Yuan, Feng & Liu 2024, ICLR, "Label Wave").

``changed_share`` is the share of examples whose predicted class is another than in the epoch before. It falls while the
network learns what is common to many examples, and rises when it turns to single labels. The moving average over three
epochs decides; once it has risen, nothing is kept any more. The public code logs the number of changes only; the rule
for its first minimum is ours.

Example:
    >>> falling, risen = [1.0, 0.5, 0.3], [1.0, 0.5, 0.3, 0.9, 0.1]
    >>> [first_trough([{"changed_share": x} for x in shares], 1) for shares in (falling, risen)]
    [True, False]
"""

from __future__ import annotations

from itertools import pairwise

from selfdistill import losses
from selfdistill.rivals._method import Curves, Method, given_labels

_SAME = 1e-9  # averages of equal shares, summed in another order


def first_trough(curves: Curves, window: int = 3) -> bool:
    """Say whether the last epoch is the lowest yet on the way to the first trough of changing predictions."""
    shares = [epoch["changed_share"] for epoch in curves]
    parts = [shares[max(0, end - window) : end] for end in range(1, len(shares) + 1)]
    smooth = [sum(part) / len(part) for part in parts]  # the shorter start is averaged over what there is
    return all(earlier - later > _SAME for earlier, later in pairwise(smooth))


METHODS = {
    "label-wave": Method(
        given_labels,
        losses.cross_entropy,
        "plain training; keeps the epoch where predictions first change least (Label Wave, Yuan et al. 2024)",
        keep=first_trough,
        may_hold_out=True,
    ),
}
