"""Neural tangent kernels of real networks, their spectra, and training in the kernel regime in closed form."""

from __future__ import annotations

from selfdistill.ntk._operator import NTK
from selfdistill.ntk._plan import Cost, LayerPlan, Plan
from selfdistill.ntk._spectrum import Spectrum

__all__ = ["NTK", "Cost", "LayerPlan", "Plan", "Spectrum"]
