"""What the network is asked to match: per-sample state with ``read``, ``write`` and ``end_epoch``."""

from selfdistill.targets._base import FixedTargets, GivenLabels, Memory, Targets
from selfdistill.targets._dong2019selfdistill import SelfDistillation
from selfdistill.targets._posterior import Posterior, PosteriorTarget
from selfdistill.targets._teacher import SoftLogits, TeacherTargets

__all__ = [
    "FixedTargets",
    "GivenLabels",
    "Memory",
    "Posterior",
    "PosteriorTarget",
    "SelfDistillation",
    "SoftLogits",
    "Targets",
    "TeacherTargets",
]
