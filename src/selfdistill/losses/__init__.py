"""Per-sample losses: logits against a distribution, one value per example, no state, in log space.

All take logits ``[b, K]`` and a target distribution ``[b, K]`` and return ``[b]``; they stay finite at logits of 1e4.
"""

from selfdistill.losses._anchored import anchored_cross_entropy
from selfdistill.losses._cross_entropy import cross_entropy, kl_divergence
from selfdistill.losses._furlanello2018mixing import mixed_cross_entropy
from selfdistill.losses._hinton2015distilling import Softened, distillation
from selfdistill.losses._liu2020elr import elr_term
from selfdistill.losses._wang2019sce import symmetric_cross_entropy
from selfdistill.losses._zhang2018gce import generalized_cross_entropy

__all__ = [
    "Softened",
    "anchored_cross_entropy",
    "cross_entropy",
    "distillation",
    "elr_term",
    "generalized_cross_entropy",
    "kl_divergence",
    "mixed_cross_entropy",
    "symmetric_cross_entropy",
]
