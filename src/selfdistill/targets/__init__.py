"""What the network is asked to match: per-sample state with ``read``, ``write`` and ``end_epoch``."""

from selfdistill.targets._base import (
    FixedTargets,
    GivenLabels,
    LabelTargets,
    Memory,
    Targets,
    check_logits,
    check_momentum,
)
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
from selfdistill.targets._noise_matrix import posterior
from selfdistill.targets._posterior import Posterior, PosteriorTarget
from selfdistill.targets._stores import Dense, Mapped, SoftStore, TopK, choose_store, compact, open_mapped
from selfdistill.targets._teacher import SoftLogits, TeacherTargets, choose_entries

__all__ = [
    "Agreement",
    "Dense",
    "FixedTargets",
    "GivenLabels",
    "LabelFunction",
    "LabelTargets",
    "Mapped",
    "Memory",
    "Posterior",
    "PosteriorTarget",
    "SelfDistillation",
    "SoftLogits",
    "SoftStore",
    "Targets",
    "TeacherTargets",
    "TopK",
    "authors_loss",
    "check_logits",
    "check_momentum",
    "choose_entries",
    "choose_store",
    "compact",
    "hard",
    "identity",
    "open_mapped",
    "posterior",
    "sequential",
    "temperature",
]
