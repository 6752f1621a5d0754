"""Neural tangent kernels of real networks: a linear operator, a matrix and leading eigenpairs."""

from __future__ import annotations

from selfdistill.ntk._forecast import Cost, LayerPlan, Plan
from selfdistill.ntk._operator import NTK
from selfdistill.ntk._regression import Prediction

__all__ = ["NTK", "Cost", "LayerPlan", "Plan", "Prediction"]
