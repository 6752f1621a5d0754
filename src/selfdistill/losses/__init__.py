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
from selfdistill.losses._romero2015hint import hint
from selfdistill.losses._sun2024standardised import standardised_distillation
from selfdistill.losses._tanaka2018joint import joint_optimization
from selfdistill.losses._wang2019sce import symmetric_cross_entropy
from selfdistill.losses._zagoruyko2017attention import attention_transfer
from selfdistill.losses._zhang2018gce import generalized_cross_entropy, truncated_cross_entropy
from selfdistill.losses._zhao2022decoupled import Decoupled, decoupled_distillation

__all__ = [
    "Decoupled",
    "Softened",
    "anchored_cross_entropy",
    "attention_transfer",
    "backward_corrected",
    "bootstrap_hard",
    "bootstrap_soft",
    "co_teaching",
    "cross_entropy",
    "decoupled_distillation",
    "distillation",
    "each_cross_entropy",
    "early_learning_regularized",
    "elr_term",
    "far_from_uniform",
    "forward_corrected",
    "generalized_cross_entropy",
    "hint",
    "joint_optimization",
    "kl_divergence",
    "label_cross_entropy",
    "mixed_cross_entropy",
    "pair_cross_entropy",
    "shifted_cross_entropy",
    "squared_error",
    "standardised_distillation",
    "symmetric_cross_entropy",
    "truncated_cross_entropy",
    "weighted_cross_entropy",
]
