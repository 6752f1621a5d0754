"""Anisotropic information retrieval: what a network learns first, how much of it is signal, and when to stop."""

from __future__ import annotations

from selfdistill.air._clock import Clock, Fit, fit_scale, per_step
from selfdistill.air._cortes2012alignment import kernel_alignment, subspace_overlap, target_alignment
from selfdistill.air._curves import Curves, predicted_curves
from selfdistill.air._effective_rank import effective_ranks
from selfdistill.air._energy import RandomEnergy, captured, information_gap, random_captured
from selfdistill.air._flow import Flow, default_times
from selfdistill.air._interval import Interval
from selfdistill.air._labels import centred, keep_rate, noise_part, noise_variance, one_hot, transition_counts
from selfdistill.air._learning_order import LearningOrder, learning_order
from selfdistill.air._retrieval import anisotropy, anisotropy_at_start, random_retrieved, retrieved
from selfdistill.air._stopping import RULES, Stop, label_noise_variance, stopping_time, wrong_share

__all__ = [
    "RULES",
    "Clock",
    "Curves",
    "Fit",
    "Flow",
    "Interval",
    "LearningOrder",
    "RandomEnergy",
    "Stop",
    "anisotropy",
    "anisotropy_at_start",
    "captured",
    "centred",
    "default_times",
    "effective_ranks",
    "fit_scale",
    "information_gap",
    "keep_rate",
    "kernel_alignment",
    "label_noise_variance",
    "learning_order",
    "noise_part",
    "noise_variance",
    "one_hot",
    "per_step",
    "predicted_curves",
    "random_captured",
    "random_retrieved",
    "retrieved",
    "stopping_time",
    "subspace_overlap",
    "target_alignment",
    "transition_counts",
    "wrong_share",
]
