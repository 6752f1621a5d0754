"""Anisotropic information retrieval: what a network learns first, how much of it is signal, and when to stop."""

from __future__ import annotations

from selfdistill.air._checkpoints import along_checkpoints, read_state
from selfdistill.air._clock import Clock, Fit, fit_scale, per_step
from selfdistill.air._closed_form import closed_lines, save_closed_figure, shares_learned
from selfdistill.air._cortes2012alignment import kernel_alignment, subspace_overlap, target_alignment
from selfdistill.air._curves import Curves, predicted_curves
from selfdistill.air._effective_rank import effective_ranks
from selfdistill.air._energy import RandomEnergy, captured, information_gap, random_captured
from selfdistill.air._figures import FIGURES, draw, save_figures
from selfdistill.air._flow import Flow, default_times
from selfdistill.air._interval import Interval
from selfdistill.air._labels import centred, keep_rate, noise_part, noise_variance, one_hot, transition_counts
from selfdistill.air._learning_order import LearningOrder, learning_order
from selfdistill.air._monitor import AirMonitor, choose_examples
from selfdistill.air._network_kernel import DENSE, network_kernel
from selfdistill.air._noise_share import NoiseShare, noise_share, tail_fall
from selfdistill.air._retrieval import anisotropy, anisotropy_at_start, random_retrieved, retrieved
from selfdistill.air._snapshot import Examples, Kernel, Snapshot, calibrated, outputs_of, snapshot
from selfdistill.air._stopping import (
    RULES,
    Stop,
    epoch_of_agreement,
    label_noise_variance,
    stopping_time,
    wrong_share,
)
from selfdistill.air._stopping_epoch import StoppingEpoch, stopping_epoch
from selfdistill.air._study import SCHEMA, Measured, study

__all__ = [
    "DENSE",
    "FIGURES",
    "RULES",
    "SCHEMA",
    "AirMonitor",
    "Clock",
    "Curves",
    "Examples",
    "Fit",
    "Flow",
    "Interval",
    "Kernel",
    "LearningOrder",
    "Measured",
    "NoiseShare",
    "RandomEnergy",
    "Snapshot",
    "Stop",
    "StoppingEpoch",
    "along_checkpoints",
    "anisotropy",
    "anisotropy_at_start",
    "calibrated",
    "captured",
    "centred",
    "choose_examples",
    "closed_lines",
    "default_times",
    "draw",
    "effective_ranks",
    "epoch_of_agreement",
    "fit_scale",
    "information_gap",
    "keep_rate",
    "kernel_alignment",
    "label_noise_variance",
    "learning_order",
    "network_kernel",
    "noise_part",
    "noise_share",
    "noise_variance",
    "one_hot",
    "outputs_of",
    "per_step",
    "predicted_curves",
    "random_captured",
    "random_retrieved",
    "read_state",
    "retrieved",
    "save_closed_figure",
    "save_figures",
    "shares_learned",
    "snapshot",
    "stopping_epoch",
    "stopping_time",
    "study",
    "subspace_overlap",
    "tail_fall",
    "target_alignment",
    "transition_counts",
    "wrong_share",
]
