"""Leading eigenpairs of a kernel: densely, or by block Krylov on the matrix or the operator, whichever is cheaper."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory import Spectrum

if TYPE_CHECKING:
    from selfdistill.ntk._operator import NTK


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


_LOST = 1e-10  # relative norm below which a direction is nothing new


def block_krylov(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    k: int,
    *,
    trace: float,
    tolerance: float = 1e-3,
    most_columns: int | None = None,
) -> Spectrum:
    """Find the k largest eigenpairs of a symmetric positive semidefinite operator."""
    # The Krylov space of a block, [Q, KQ, K²Q, ...], is built with full orthogonalisation, done twice, in 64 bit; the
    # products are kept, so that eigenpairs (Rayleigh-Ritz) and |K v - theta v| need no more of them. It stops when each
    # of the k pairs has an estimated relative error of tolerance: the residual r or, where pairs lie apart by d, the
    # sharper r²/d (Kato-Temple). Golub & Underwood (1977); Musco & Musco (2015), arXiv 1504.05477; Parlett (1998).
    n = len(start)
    most = min(n, most_columns or n)
    basis = _orthonormal(start.to("cpu", torch.float64), None)
    images = product(basis).to("cpu", torch.float64)
    while True:
        values, vectors, residuals = _rayleigh_ritz(basis, images, k)
        full = basis.shape[1] >= most
        errors = _errors(values, residuals)[:k]
        if full or (len(errors) == k and bool((errors <= tolerance * values[:k]).all())):
            return Spectrum(values[:k], vectors[:, :k], residuals[:k], trace)
        last = images[:, -min(start.shape[1], images.shape[1]) :]
        fresh = _orthonormal(last, basis)
        if fresh.shape[1] == 0:  # the space is invariant: what is missing lies outside it
            generator = torch.Generator().manual_seed(basis.shape[1])
            fresh = _orthonormal(torch.randn(n, start.shape[1], generator=generator).double(), basis)
        fresh = fresh[:, : most - basis.shape[1]]
        basis = torch.cat([basis, fresh], 1)
        images = torch.cat([images, product(fresh).to("cpu", torch.float64)], 1)


def _orthonormal(block: Tensor, basis: Tensor | None) -> Tensor:
    """Orthonormal columns that span what a block adds to a basis; directions that add nothing are dropped."""
    scale = torch.linalg.vector_norm(block, dim=0).clamp(min=1e-300)
    block = block / scale
    for _ in range(2):
        if basis is not None:
            block = block - basis @ (basis.T @ block)
        u, s, _ = torch.linalg.svd(block, full_matrices=False)
        block = u[:, s > _LOST * math.sqrt(block.shape[0])]
        if block.shape[1] == 0:
            break
    return block


def _rayleigh_ritz(basis: Tensor, images: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    projected = basis.T @ images
    values, rotation = torch.linalg.eigh((projected + projected.T) / 2)
    values, rotation = values.flip(0)[: k + 1], rotation.flip(1)[:, : k + 1]
    vectors = basis @ rotation
    residuals = torch.linalg.vector_norm(images @ rotation - vectors * values, dim=0)
    return values.clamp(min=0), vectors, residuals


def _errors(values: Tensor, residuals: Tensor) -> Tensor:
    """Estimate the error of each eigenvalue from its residual and its distance to the neighbours found."""
    gaps = (values[:-1] - values[1:]).abs()
    edge = gaps.new_full((1,), torch.inf)
    apart = torch.minimum(torch.cat([edge, gaps]), torch.cat([gaps, edge]))
    return torch.minimum(residuals, residuals**2 / apart.clamp(min=1e-300))
