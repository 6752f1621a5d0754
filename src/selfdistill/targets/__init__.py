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
from selfdistill.targets._patrini2017correction import Corrected, anchor_matrix, conditioned, growth
from selfdistill.targets._posterior import Anchored, Posterior
from selfdistill.targets._protocol import Targets, one_hot
from selfdistill.targets._stores import Dense, Mapped, SoftStore, TopK, choose_store, compact, open_mapped
from selfdistill.targets._zhang2018truncated import Kept, Truncated, refreshes

__all__ = [
    "Agreement",
    "Anchored",
    "Corrected",
    "Dense",
    "Given",
    "Kept",
    "LabelFunction",
    "Mapped",
    "Memory",
    "Posterior",
    "SelfDistillation",
    "SoftStore",
    "Targets",
    "TopK",
    "Truncated",
    "anchor_matrix",
    "authors_loss",
    "choose_store",
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
    "temperature",
]
