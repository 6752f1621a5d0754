"""The run directory: fit, load, resume, predict, refine, the verdict, and what was learned first."""

from selfdistill.runs._demo import noisy_digits

__all__ = [
    "noisy_digits",
]
