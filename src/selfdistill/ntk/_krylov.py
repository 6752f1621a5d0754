"""Leading eigenpairs from products with blocks of vectors, each with a bound on its error."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from selfdistill.theory._spectrum import Spectrum

__all__ = ["block_krylov"]

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
            fresh = _orthonormal(torch.randn(n, start.shape[1], generator=_generator(basis.shape[1])).double(), basis)
        fresh = fresh[:, : most - basis.shape[1]]
        basis = torch.cat([basis, fresh], 1)
        images = torch.cat([images, product(fresh).to("cpu", torch.float64)], 1)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
