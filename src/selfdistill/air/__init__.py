"""Anisotropic information retrieval: what a network learns first, how much of it is signal, and when to stop."""

from __future__ import annotations

from selfdistill.air._clock import fit_scale, per_step
from selfdistill.air._figures import save_figures
from selfdistill.air._flow import Flow, default_times, predicted_curves
from selfdistill.air._labels import centred, noise_part, one_hot
from selfdistill.air._measures import captured, effective_ranks, kernel_alignment, retrieved
from selfdistill.air._monitor import AirMonitor
from selfdistill.air._snapshot import along_checkpoints, calibrated, network_kernel, snapshot
from selfdistill.air._stopping import stopping_time
from selfdistill.air._study import study

__all__ = [
    "AirMonitor",
    "Flow",
    "along_checkpoints",
    "calibrated",
    "captured",
    "centred",
    "default_times",
    "effective_ranks",
    "fit_scale",
    "kernel_alignment",
    "network_kernel",
    "noise_part",
    "one_hot",
    "per_step",
    "predicted_curves",
    "retrieved",
    "save_figures",
    "snapshot",
    "stopping_time",
    "study",
]
