"""What the network is asked to match: per-sample state with ``read``, ``write`` and ``end_epoch``."""

from selfdistill.targets._base import FixedTargets, Targets
from selfdistill.targets._dong2019selfdistill import SelfDistillation
from selfdistill.targets._posterior import Posterior
from selfdistill.targets._teacher import TeacherTargets

__all__ = [
    "FixedTargets",
    "Posterior",
    "SelfDistillation",
    "Targets",
    "TeacherTargets",
]
