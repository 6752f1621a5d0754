"""Anisotropic information retrieval: what a network learns first, how much of it is signal, and when to stop."""

from __future__ import annotations

from selfdistill.air._clock import per_step
from selfdistill.air._flow import Flow
from selfdistill.air._measures import captured, noise_part, retrieved
from selfdistill.air._monitor import AirMonitor
from selfdistill.air._snapshot import Examples, along_checkpoints, calibrated, network_kernel
from selfdistill.air._stopping import stopping_time

__all__ = [
    "AirMonitor",
    "Examples",
    "Flow",
    "along_checkpoints",
    "calibrated",
    "captured",
    "network_kernel",
    "noise_part",
    "per_step",
    "retrieved",
    "stopping_time",
]
