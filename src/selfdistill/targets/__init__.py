"""What the network is asked to match: per-sample state with ``read``, ``write`` and ``end_epoch``."""

from selfdistill.targets._dong2019selfdistill import (
    Agreement,
    LabelFunction,
    SelfDistillation,
    authors_loss,
    hard,
    identity,
    temperature,
)
from selfdistill.targets._given import Given
from selfdistill.targets._memory import Memory
from selfdistill.targets._noise_matrix import deconvolve, em_step, expected_counts, posterior
from selfdistill.targets._posterior import Anchored, Posterior
from selfdistill.targets._protocol import Targets, one_hot
from selfdistill.targets._soft_logits import SoftLogits, choose_entries
from selfdistill.targets._stores import Dense, Mapped, SoftStore, TopK, choose_store, compact, open_mapped
from selfdistill.targets._taught import Taught

__all__ = [
    "Agreement",
    "Anchored",
    "Dense",
    "Given",
    "LabelFunction",
    "Mapped",
    "Memory",
    "Posterior",
    "SelfDistillation",
    "SoftLogits",
    "SoftStore",
    "Targets",
    "Taught",
    "TopK",
    "authors_loss",
    "choose_entries",
    "choose_store",
    "compact",
    "deconvolve",
    "em_step",
    "expected_counts",
    "hard",
    "identity",
    "one_hot",
    "open_mapped",
    "posterior",
    "temperature",
]
