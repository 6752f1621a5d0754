"""Backward passes: each direction of the outputs, differentiated at the outputs of layers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from selfdistill.ntk._directions import Directions, Mixed
from selfdistill.ntk._mismatch import is_wrong

__all__ = ["pull"]


def pull(
    logits: Tensor,
    edges: list[tuple[GradientEdge, torch.Size]],
    directions: Directions | Mixed,
    targets: dict[int, Tensor],
    *,
    watched: bool,
) -> tuple[list[Tensor], list[int]]:
    """Differentiate each direction at the output of each call: ``[m, R, ...]``, in place where a target is given."""
    vectors, count = directions.of(logits), directions.count
    nodes = [edge for edge, _ in edges]
    found = [targets.get(i) for i in range(len(edges))]
    for r in range(count):
        more = r + 1 < count or watched
        grads = torch.autograd.grad(logits, nodes, vectors[:, r], retain_graph=more, allow_unused=True)
        for i, (grad, (_, shape)) in enumerate(zip(grads, edges, strict=True)):
            stacked = found[i]
            if stacked is None and count == 1 and grad is not None:
                found[i] = grad[:, None]
                continue
            if stacked is None:
                stacked = found[i] = logits.new_empty((shape[0], count, *shape[1:]))
            stacked[:, r] = 0.0 if grad is None else grad
    stacks = [g for g in found if g is not None]
    return stacks, _misplaced(logits, nodes, vectors, stacks) if watched else []


def _misplaced(logits: Tensor, nodes: list[GradientEdge], vectors: Tensor, stacks: list[Tensor]) -> list[int]:
    """Find calls whose rows are in another order than the examples, or mixed."""
    # Each example's outputs are multiplied by a number of its own; gradients in its row must be multiplied by the same.
    generator = torch.Generator().manual_seed(2)
    m, count = vectors.shape[:2]
    each = torch.linspace(1.0, 2.0, m, dtype=torch.float64).to(logits)
    mix = torch.randn(count, generator=generator, dtype=torch.float64).to(logits)
    seed = each[:, None] * torch.einsum("r,mrc->mc", mix, vectors)
    grads = torch.autograd.grad(logits, nodes, seed, allow_unused=True)
    strange = []
    for i, (grad, stack) in enumerate(zip(grads, stacks, strict=True)):
        rows = torch.einsum("r,mrp->mp", mix, stack.flatten(2) if stack.ndim > 2 else stack[:, :, None])
        error = (0.0 if grad is None else grad.reshape(m, -1)) - each[:, None] * rows
        errors, norms = (torch.linalg.vector_norm(v, dim=1).tolist() for v in (error, rows))
        scale = max(norms)
        if any(is_wrong(e, norm, scale, logits.dtype) for e, norm in zip(errors, norms, strict=True)):
            strange.append(i)
    return strange
