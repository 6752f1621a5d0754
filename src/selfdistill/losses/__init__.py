"""Per-sample losses: logits against a distribution, one value per example, no state, in log space.

All take logits ``[b, K]`` and a target distribution ``[b, K]``, or what stands for one, and return ``[b]``; they stay
finite at logits of 1e4. Losses that belong to one published method are in `selfdistill.rivals`.
"""

from selfdistill.losses._anchored import ELR_FLOOR, anchored_cross_entropy, elr_term
from selfdistill.losses._cross_entropy import (
    at_least_single,
    cross_entropy,
    each_cross_entropy,
    generalized_cross_entropy,
    kl_divergence,
    label_cross_entropy,
    pair_cross_entropy,
)
from selfdistill.losses._distillation import (
    DecoupledTarget,
    TemperatureTarget,
    decoupled_distillation,
    distillation,
    mixed_cross_entropy,
    standardised_distillation,
)
from selfdistill.losses._layers import attention_transfer, hint

__all__ = [
    "ELR_FLOOR",
    "DecoupledTarget",
    "TemperatureTarget",
    "anchored_cross_entropy",
    "at_least_single",
    "attention_transfer",
    "cross_entropy",
    "decoupled_distillation",
    "distillation",
    "each_cross_entropy",
    "elr_term",
    "generalized_cross_entropy",
    "hint",
    "kl_divergence",
    "label_cross_entropy",
    "mixed_cross_entropy",
    "pair_cross_entropy",
    "standardised_distillation",
]
