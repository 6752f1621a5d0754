"""The loop and what surrounds it: methods, runtime, checkpoints; from data and settings to a fitted model."""

from selfdistill._core.settings import Settings
from selfdistill.train._fit import fit

__all__ = ["Settings", "fit"]
