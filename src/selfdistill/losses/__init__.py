"""Per-sample losses: logits against a distribution, one value per example, no state, in log space.

All take logits ``[b, K]`` and a target distribution ``[b, K]``, or what stands for one, and return ``[b]``; they stay
finite at logits of 1e4.
"""

from selfdistill.losses._anchored import anchored_cross_entropy
from selfdistill.losses._cross_entropy import cross_entropy, kl_divergence, label_cross_entropy
from selfdistill.losses._furlanello2018mixing import mixed_cross_entropy
from selfdistill.losses._han2018coteaching import co_teaching
from selfdistill.losses._hinton2015distilling import Softened, distillation
from selfdistill.losses._huang2020sat import weighted_cross_entropy
from selfdistill.losses._li2020dividemix import far_from_uniform, squared_error
from selfdistill.losses._liu2020elr import early_learning_regularized, elr_term
from selfdistill.losses._liu2022sop import shifted_cross_entropy
from selfdistill.losses._pair import each_cross_entropy, pair_cross_entropy
from selfdistill.losses._patrini2017correction import backward_corrected, forward_corrected
from selfdistill.losses._reed2015bootstrap import bootstrap_hard, bootstrap_soft
from selfdistill.losses._tanaka2018joint import joint_optimization
from selfdistill.losses._wang2019sce import symmetric_cross_entropy
from selfdistill.losses._zhang2018gce import generalized_cross_entropy, truncated_cross_entropy

__all__ = [
    "Softened",
    "anchored_cross_entropy",
    "backward_corrected",
    "bootstrap_hard",
    "bootstrap_soft",
    "co_teaching",
    "cross_entropy",
    "distillation",
    "each_cross_entropy",
    "early_learning_regularized",
    "elr_term",
    "far_from_uniform",
    "forward_corrected",
    "generalized_cross_entropy",
    "joint_optimization",
    "kl_divergence",
    "label_cross_entropy",
    "mixed_cross_entropy",
    "pair_cross_entropy",
    "shifted_cross_entropy",
    "squared_error",
    "symmetric_cross_entropy",
    "truncated_cross_entropy",
    "weighted_cross_entropy",
]
