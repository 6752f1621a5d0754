"""What the network is asked to match: per-sample state with ``read``, ``write`` and ``end_epoch``."""

from selfdistill.targets._dong2019selfdistill import (
    Agreement,
    LabelFunction,
    SelfDistillation,
    authors_loss,
    hard,
    identity,
    sequential,
    temperature,
)
from selfdistill.targets._fixed import Fixed
from selfdistill.targets._gaussian_mixture import TwoGaussians, two_gaussians
from selfdistill.targets._given import Given
from selfdistill.targets._han2018coteaching import SmallLoss
from selfdistill.targets._huang2020sat import SelfAdaptive, Weighted
from selfdistill.targets._li2020dividemix import Division, clean_probability
from selfdistill.targets._liu2020elr import EarlyLearning, Remembered
from selfdistill.targets._liu2022sop import Shifted, SparseNoise
from selfdistill.targets._lu2022selc import SelfEnsemble
from selfdistill.targets._memory import Memory
from selfdistill.targets._noise_matrix import deconvolve, em_step, expected_counts, posterior
from selfdistill.targets._patrini2017correction import Corrected, anchor_matrix, conditioned, growth
from selfdistill.targets._posterior import Anchored, Posterior
from selfdistill.targets._protocol import Targets, one_hot
from selfdistill.targets._soft_logits import SoftLogits, choose_entries
from selfdistill.targets._stores import Dense, Mapped, SoftStore, TopK, choose_store, compact, open_mapped
from selfdistill.targets._tanaka2018joint import JointLabels, Labelled
from selfdistill.targets._taught import Taught
from selfdistill.targets._zhang2018truncated import Kept, Truncated, refreshes

__all__ = [
    "Agreement",
    "Anchored",
    "Corrected",
    "Dense",
    "Division",
    "EarlyLearning",
    "Fixed",
    "Given",
    "JointLabels",
    "Kept",
    "LabelFunction",
    "Labelled",
    "Mapped",
    "Memory",
    "Posterior",
    "Remembered",
    "SelfAdaptive",
    "SelfDistillation",
    "SelfEnsemble",
    "Shifted",
    "SmallLoss",
    "SoftLogits",
    "SoftStore",
    "SparseNoise",
    "Targets",
    "Taught",
    "TopK",
    "Truncated",
    "TwoGaussians",
    "Weighted",
    "anchor_matrix",
    "authors_loss",
    "choose_entries",
    "choose_store",
    "clean_probability",
    "compact",
    "conditioned",
    "deconvolve",
    "em_step",
    "expected_counts",
    "growth",
    "hard",
    "identity",
    "one_hot",
    "open_mapped",
    "posterior",
    "refreshes",
    "sequential",
    "temperature",
    "two_gaussians",
]
