"""Backward passes: to the outputs of layers, or through the whole network for each example."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.func import vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from selfdistill.ntk._directions import Directions, RandomDirection
from selfdistill.ntk._inputs import Arguments, count_of
from selfdistill.ntk._network import Network, is_wrong, translate_errors


def pull(
    logits: Tensor,
    edges: list[tuple[GradientEdge, torch.Size]],
    directions: Directions | RandomDirection,
    targets: dict[int, Tensor],
    *,
    watched: bool,
) -> tuple[list[Tensor], list[int]]:
    """Differentiate each direction at the output of each call: ``[m, R, ...]``, in place where a target is given."""
    vectors, count = directions.of(logits), directions.count
    nodes = [edge for edge, _ in edges]
    stacks_by_call = [targets.get(i) for i in range(len(edges))]
    for r in range(count):
        more = r + 1 < count or watched
        grads = torch.autograd.grad(logits, nodes, vectors[:, r], retain_graph=more, allow_unused=True)
        for i, (grad, (_, shape)) in enumerate(zip(grads, edges, strict=True)):
            stacked = stacks_by_call[i]
            if stacked is None and count == 1 and grad is not None:
                stacks_by_call[i] = grad[:, None]
                continue
            if stacked is None:
                stacked = stacks_by_call[i] = logits.new_empty((shape[0], count, *shape[1:]))
            stacked[:, r] = 0.0 if grad is None else grad
    stacks = [g for g in stacks_by_call if g is not None]
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


_WAYS = ("both at once", "each direction", "each example")


class PerSample:
    """Gradients of the directions with respect to chosen parameters."""

    # Three ways, from fast to sure: vmap over examples and directions, vmap over examples for one direction after the
    # other, and one example after the other. Batching rules of vmap are wrong for some operations (cdist and PReLU in
    # two levels of it, linalg.solve where gradients are off), so the caller compares, and takes the next way by slower.

    def __init__(self, network: Network) -> None:
        self.network = network
        self.way = 0  # which of the three: 0, 1 or 2

    @property
    def one_by_one(self) -> bool:
        """Whether each example is differentiated alone."""
        return self.way == len(_WAYS) - 1

    def slower(self) -> None:
        """Take the next way, which is slower and surer."""
        self.way = min(self.way + 1, len(_WAYS) - 1)

    def __call__(
        self, args: Arguments, directions: Directions | RandomDirection, names: list[str], *, alone: bool = False
    ) -> dict[str, Tensor]:
        """Compute the gradients of a chunk."""
        while not alone and not self.one_by_one:
            try:
                with self.network.quiet():
                    grads = self._stacked(args, directions, names)
                m, shapes = count_of(args), {name: p.shape for name, p in self.network.parameters.items()}
                if all(v.shape == (m, directions.count, *shapes[name]) for name, v in grads.items()):
                    return grads
                self.slower()
            except Exception:  # an operation without a batching rule, or control flow that looks at values
                self.slower()
        with translate_errors():
            return self._loop(args, directions, names)

    def _stacked(
        self, args: Arguments, directions: Directions | RandomDirection, names: list[str]
    ) -> dict[str, Tensor]:
        chosen = {name: self.network.value(name) for name in names}

        def one(chosen: dict[str, Tensor], args: Arguments) -> dict[str, Tensor]:
            alone = args.mapped(lambda v: v[None])
            out, pull = vjp(lambda values: self.network.rows(alone, values)[0], chosen)[:2]
            rows = directions.of(out[None])[0]
            if self.way == 0:
                found: dict[str, Tensor] = vmap(lambda v: pull(v)[0])(rows)
                return found
            grads = [pull(v, create_graph=False)[0] for v in rows]
            return {name: torch.stack([g[name] for g in grads]) for name in chosen}

        fused = sdpa_kernel(SDPBackend.MATH)  # fused attention has no batching rule
        with torch.enable_grad(), fused, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            stacked: dict[str, Tensor] = vmap(one, in_dims=(None, 0), randomness="same")(chosen, args)
        return {name: stacked[name].detach() for name in names}

    def _loop(self, args: Arguments, directions: Directions | RandomDirection, names: list[str]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for i in range(count_of(args)):
            chosen = {name: self.network.value(name).requires_grad_(True) for name in names}
            leaves = list(chosen.values())
            with torch.enable_grad(), self.network.quiet():  # each from the same state
                out = self.network.rows(args.rows(i, i + 1), chosen)
                wanted = directions.of(out.detach())[0]
                if out.requires_grad:
                    each = [
                        torch.autograd.grad(out, leaves, v[None], retain_graph=True, allow_unused=True) for v in wanted
                    ]
                else:
                    each = [tuple(torch.zeros_like(p) for p in leaves)] * len(wanted)
            for column, (name, p) in enumerate(chosen.items()):
                grads = [torch.zeros_like(p) if row[column] is None else row[column] for row in each]
                found[name].append(torch.stack([g.to_dense() if g.is_sparse else g for g in grads]).detach())
        return {name: torch.stack(v) for name, v in found.items()}
