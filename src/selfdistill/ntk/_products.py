"""The kernel times a block of vectors, without the kernel: down to the parameters and up again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import final

import torch
from torch import Tensor

from selfdistill._core import dist
from selfdistill.ntk._forecast import Group
from selfdistill.ntk._gram import gathered, share_of, sweep
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._jacobian import Jacobian
from selfdistill.ntk._pieces import Item, Piece

__all__ = ["Products"]


@final
class Products:
    """Products K Q = J1 (J2ᵀ Q) with blocks of vectors, in two sweeps, or none where gradients are kept."""

    # Over several processes each holds a share of the examples; what comes together is a parameter-by-block matrix (one
    # all-reduce) and the result's rows.

    def __init__(
        self,
        jacobian: Jacobian,
        inputs: Inputs,
        other: Inputs,
        groups: Sequence[Group],
        chunk: int,
        *,
        keep: bool,
    ) -> None:
        self.jacobian, self.inputs, self.other = jacobian, inputs, other
        self.groups, self.chunk, self.keep = groups, chunk, keep
        self._tell: Callable[[int], None] = lambda done: None
        self._kept: dict[tuple[int, int, int], list[Piece]] = {}
        self.each = 1 if jacobian.directions.traced else jacobian.directions.count

    def __call__(self, block: Tensor, tell: Callable[[int], None]) -> Tensor:
        """Multiply."""
        self._tell = tell
        first, last = share_of(len(self.inputs), dist.rank(), dist.world())
        result = block.new_zeros((last - first) * self.each, block.shape[1])
        for group in self.groups:
            down = self._down(group, block)
            for start, stop, pieces in self._chunks(self.inputs, group):
                rows = slice((start - first) * self.each, (stop - first) * self.each)
                for item, piece in zip(group.items, pieces, strict=True):
                    result[rows] += _up(piece, down[item], traced=self.each == 1)
        return gathered(result, len(self.inputs), self.each)

    def _down(self, group: Group, block: Tensor) -> dict[Item, Tensor]:
        total: dict[Item, Tensor] = {}
        for start, stop, pieces in self._chunks(self.other, group):
            vectors = block[start * self.each : stop * self.each]
            for item, piece in zip(group.items, pieces, strict=True):
                _down(piece, vectors, total, item, traced=self.each == 1)
        for value in total.values():
            dist.sum_over_processes(value)
        return total

    def _chunks(self, inputs: Inputs, group: Group) -> Generator[tuple[int, int, list[Piece]]]:
        """Go through this process's share of some examples: first, one after the last, gradients."""
        first, last = share_of(len(inputs), dist.rank(), dist.world())
        for start in range(first, last, self.chunk):
            stop = min(start + self.chunk, last)
            yield start, stop, self._pieces(inputs, start, stop, group)

    def _pieces(self, inputs: Inputs, start: int, stop: int, group: Group) -> list[Piece]:
        """Give the gradients of a chunk, from those kept if they are."""
        key = (id(inputs), start, id(group))
        if key in self._kept:
            return self._kept[key]
        like = self.jacobian.structure.like
        found = sweep(self.jacobian, inputs, start, stop, group.items, self.chunk, like, self._tell)
        if self.keep:
            self._kept[key] = found
        return found


def _down(piece: Piece, vectors: Tensor, total: dict[Item, Tensor], item: Item, *, traced: bool) -> None:
    """Add ``Jᵀ Q`` of a chunk: ``[R p, b]`` or ``[p, b]``; for factors ``[R, i, o b]`` or ``[1, i, o b]``."""
    g, b = piece.right, vectors.shape[1]
    m, r = g.shape[:2]
    if piece.left is None:
        rows = g.flatten(1) if traced else g.flatten(0, 1)
        if item not in total:
            total[item] = rows.T @ vectors
        else:
            total[item].addmm_(rows.T, vectors)
        return
    i = piece.left.shape[1]
    if item not in total:
        total[item] = g.new_zeros(r if traced else 1, i, g.shape[2] * b)
    if traced:
        for k in range(r):
            total[item][k].addmm_(piece.left.T, (g[:, k, :, None] * vectors[:, None, :]).flatten(1))
    else:
        mixed = torch.einsum("mro,mrb->mob", g, vectors.view(m, r, b))
        total[item][0].addmm_(piece.left.T, mixed.flatten(1))


def _up(piece: Piece, down: Tensor, *, traced: bool) -> Tensor:
    """Give ``J Z`` of a chunk: ``[m, b]`` or ``[m R, b]``."""
    g = piece.right
    m, r, o = g.shape
    if piece.left is None:
        return (g.flatten(1) if traced else g.flatten(0, 1)) @ down
    if traced:
        parts = [torch.einsum("mo,mob->mb", g[:, k], (piece.left @ down[k]).view(m, o, -1)) for k in range(r)]
        return torch.stack(parts).sum(0)
    return torch.einsum("mro,mob->mrb", g, (piece.left @ down[0]).view(m, o, -1)).flatten(0, 1)
