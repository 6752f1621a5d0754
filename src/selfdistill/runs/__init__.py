"""The run directory: fit, load, resume, predict, refine, the verdict, and what was learned first."""

from selfdistill.runs._demo import noisy_digits
from selfdistill.runs._model_file import load_model
from selfdistill.runs._run import Run, fit, load

__all__ = [
    "Run",
    "fit",
    "load",
    "load_model",
    "noisy_digits",
]
