"""Leading eigenpairs of a kernel: densely, or by block Krylov on the matrix or the operator, whichever is cheaper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.ntk._krylov import block_krylov
from selfdistill.theory._spectrum import Spectrum

if TYPE_CHECKING:
    from selfdistill.ntk._operator import NTK

__all__ = ["all_pairs", "leading_pairs"]

_DENSE = 2048  # up to this many rows, all eigenpairs in 64 bit take seconds
_BLOCK = 20
_ROUNDING = 8  # times the machine epsilon and the trace; measured: at most 2.2 (decision 14)


def leading_pairs(kernel: NTK, k: int, labels: Tensor | None, tolerance: float, seed: int) -> Spectrum:
    """Find eigenpairs; see `NTK.eigh`."""
    n = kernel.shape[0]
    if (n <= _DENSE or k == n) and _fits(kernel):  # all pairs by Krylov: slower
        return all_pairs(kernel, k)
    width = min(n, max(_BLOCK, 10 + (labels.shape[1] if labels is not None else 0)))
    start = torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if labels is not None:
        start[:, : labels.shape[1]] = labels
    product: Callable[[Tensor], Tensor] = kernel.matmat
    if _fits(kernel) and matrix_is_cheaper(kernel, k, width):
        mine = kernel.matrix()
        product = lambda q: kernel._gathered(mine @ q.to(mine))
    trace = float(kernel.diagonal().sum())
    return _rounded(block_krylov(product, start, k, trace=trace, tolerance=tolerance), kernel)


def all_pairs(kernel: NTK, k: int | None = None, divisor: float = 1.0) -> Spectrum:
    """Decompose the matrix."""
    return _rounded(Spectrum.of(kernel._gathered(kernel.matrix()) / divisor, k), kernel)


def _rounded(found: Spectrum, kernel: NTK) -> Spectrum:
    return replace(found, rounding=_ROUNDING * kernel.structure.network.epsilon * found.trace)


def _fits(kernel: NTK) -> bool:
    try:
        kernel._planner().explicit()
    except SettingError:
        return False
    return True


def matrix_is_cheaper(kernel: NTK, k: int, width: int) -> bool:
    """Compare the matrix with as many products as the Krylov space will need, by the forecast."""
    planner = kernel._planner()
    try:
        *_, keep, cost = planner.product(width)
    except SettingError:
        return True
    passes = 3 + 2.5 * k / width  # measured: 5 for 20 pairs in blocks of 20, 9 for 50
    first = planner.first_sweep() if keep else 0.0
    return planner.explicit()[-1].flops <= first + passes * cost.flops
