"""Per-sample losses: logits against a distribution, one value per example, no state, in log space.

All take logits ``[b, K]`` and a target distribution ``[b, K]``, or what stands for one, and return ``[b]``; they stay
finite at logits of 1e4. Losses that belong to one published method are in `selfdistill.rivals`.
"""

from selfdistill.losses._anchored import anchored_cross_entropy
from selfdistill.losses._cross_entropy import cross_entropy, generalized_cross_entropy

__all__ = [
    "anchored_cross_entropy",
    "cross_entropy",
    "generalized_cross_entropy",
]
