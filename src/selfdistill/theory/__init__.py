"""Training, early stopping and self-distillation in the kernel regime, in closed form from a Gram matrix."""

from __future__ import annotations

from selfdistill.theory._early_stopping import best_stopping_time, early_stopping_risk
from selfdistill.theory._generations import optimal_mixing
from selfdistill.theory._gradient_flow import gradient_descent, gradient_flow, ridge
from selfdistill.theory._hard_distillation import hard_distillation
from selfdistill.theory._leave_one_out import leave_one_out
from selfdistill.theory._relu_kernel import relu_kernel
from selfdistill.theory._soft_distillation import settled_distillation, soft_distillation
from selfdistill.theory._spectrum import Spectrum

__all__ = [
    "Spectrum",
    "best_stopping_time",
    "early_stopping_risk",
    "gradient_descent",
    "gradient_flow",
    "hard_distillation",
    "leave_one_out",
    "optimal_mixing",
    "relu_kernel",
    "ridge",
    "settled_distillation",
    "soft_distillation",
]
