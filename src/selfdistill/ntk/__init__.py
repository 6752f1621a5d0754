"""Neural tangent kernels of real networks, their spectra, and training in the kernel regime in closed form."""

from __future__ import annotations

from selfdistill.ntk._relu_kernel import first_layer_kernel, relu_kernel
from selfdistill.ntk._spectrum import Spectrum

__all__ = ["Spectrum", "first_layer_kernel", "relu_kernel"]
