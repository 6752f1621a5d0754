"""Neural tangent kernels of real networks: a linear operator, a matrix and leading eigenpairs."""

from __future__ import annotations

from selfdistill.ntk._operator import NTK

__all__ = ["NTK"]
