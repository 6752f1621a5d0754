"""Training, early stopping and self-distillation in the kernel regime, in closed form from a Gram matrix."""

from __future__ import annotations

from selfdistill.theory._early_stopping import (
    StoppingTime,
    best_filter,
    best_stopping_time,
    best_times,
    early_stopping_risk,
    label_moments,
)
from selfdistill.theory._generations import (
    Mixing,
    expected_optimal_mixing,
    generations,
    optimal_mixing,
    rounds_to_clean,
)
from selfdistill.theory._gradient_flow import extend, gradient_descent, gradient_flow, ridge
from selfdistill.theory._hard_distillation import HardTrace, hard_distillation
from selfdistill.theory._leave_one_out import Criterion, best_penalty, checked_ridge, dual_weights, leave_one_out
from selfdistill.theory._relu_kernel import first_layer_kernel, relu_kernel
from selfdistill.theory._soft_distillation import (
    averaged_distillation,
    critical_own_weight,
    effective_time,
    lagged_distillation,
    settled_bound,
    settled_distillation,
    soft_distillation,
)
from selfdistill.theory._spectrum import Spectrum

__all__ = [
    "Criterion",
    "HardTrace",
    "Mixing",
    "Spectrum",
    "StoppingTime",
    "averaged_distillation",
    "best_filter",
    "best_penalty",
    "best_stopping_time",
    "best_times",
    "checked_ridge",
    "critical_own_weight",
    "dual_weights",
    "early_stopping_risk",
    "effective_time",
    "expected_optimal_mixing",
    "extend",
    "first_layer_kernel",
    "generations",
    "gradient_descent",
    "gradient_flow",
    "hard_distillation",
    "label_moments",
    "lagged_distillation",
    "leave_one_out",
    "optimal_mixing",
    "relu_kernel",
    "ridge",
    "rounds_to_clean",
    "settled_bound",
    "settled_distillation",
    "soft_distillation",
]
