"""The kernel as a matrix, and times a block of vectors: sweeps over the examples for each group of parameters."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import final

import torch
import torch.distributed
from torch import Tensor

from selfdistill._core import dist
from selfdistill.ntk._forecast import Group, Item, LayerRecord, Piece
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._jacobian import Jacobian
from selfdistill.ntk._multiply import add_product, add_square, mirror


def explicit(
    jacobian: Jacobian,
    inputs: Inputs,
    other: Inputs | None,
    groups: Sequence[Group],
    chunk: int,
    share: tuple[int, int],
    tell: Callable[[int], None],
) -> Tensor:
    """Compute a kernel."""
    first, last = share
    each = 1 if jacobian.directions.traced else jacobian.directions.count
    columns = len(inputs if other is None else other)
    like = jacobian.structure.like
    kernel: Tensor | None = None  # made after the first sweep, whose scratch space is free by then
    alone = dist.world() == 1
    shape = (last - first) * each, columns * each
    for group in groups:
        wanted: list[Item | LayerRecord] = [*group.items, *group.kept]
        left = sweep(jacobian, inputs, first, last, wanted, chunk, like, tell, fed=True)
        if kernel is None:
            kernel = like.new_zeros(shape)
        kept = {item.name: left.pop() for item in reversed(group.kept)}
        if other is not None:
            for start in range(0, columns, chunk):
                stop = min(start + chunk, columns)
                right = sweep(jacobian, other, start, stop, group.items, chunk, like, tell, fed=True)
                add_product(kernel[:, start * each : stop * each], left, right)
        elif alone:
            add_square(kernel, left)
        else:
            for begin, end, right in _from_each(left, columns):
                add_product(kernel[:, begin * each : end * each], left, right)
        del left  # before the next group's are made
        room: Tensor | None = None
        for item in group.slabs:
            if jacobian.add_tokens(item, kept[item.name], kernel):
                continue
            room = jacobian.room(group.slabs, last - first, like) if room is None else room
            add_square(kernel, [jacobian.expand(item, kept[item.name], chunk, room)])
        del kept, room
    assert kernel is not None
    if other is None and alone:
        mirror(kernel)
    return kernel


def sweep(
    jacobian: Jacobian,
    inputs: Inputs,
    first: int,
    last: int,
    items: Sequence[Item | LayerRecord],
    chunk: int,
    like: Tensor,
    tell: Callable[[int], None],
    *,
    fed: bool = False,
) -> list[Piece]:
    """Differentiate the network for a range of examples, chunk by chunk; ``fed`` allows views of the examples."""
    views = [jacobian.fed(item, inputs, first, last, like) if fed else None for item in items]
    once = last - first <= chunk
    pieces = [
        view or jacobian.empty(item, 0 if once and isinstance(item, LayerRecord) else last - first, like)
        for view, item in zip(views, items, strict=True)
    ]
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        jacobian.fill(inputs, start, stop, items, [p if once else p.rows(start - first, stop - first) for p in pieces])
        tell(stop - start)
    return pieces


def _from_each(left: list[Piece], columns: int) -> Generator[tuple[int, int, list[Piece]]]:
    """Send each process's gradients to all: first and last example, and the pieces."""
    for source in range(dist.world()):
        first, last = share_of(columns, source, dist.world())
        sent = partial(_sent, source=source, rows=last - first)
        yield (
            first,
            last,
            [p._replace(left=None if p.left is None else sent(p.left), right=sent(p.right)) for p in left],
        )


def _sent(mine: Tensor, source: int, rows: int) -> Tensor:
    part = mine if source == dist.rank() else mine.new_empty(rows, *mine.shape[1:])
    torch.distributed.broadcast(part, source)
    return part


def share_of(n: int, rank: int, world: int) -> tuple[int, int]:
    """Give a process's share of n rows."""
    size, more = divmod(n, world)
    first = rank * size + min(rank, more)
    return first, first + size + (rank < more)


def gathered(mine: Tensor, n: int, each: int) -> Tensor:
    """Put the rows of all processes together."""
    if dist.world() == 1:
        return mine
    shares = [share_of(n, rank, dist.world()) for rank in range(dist.world())]
    padded = mine.new_zeros(max(last - first for first, last in shares) * each, mine.shape[1])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in shares]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([v[: (last - first) * each] for v, (first, last) in zip(parts, shares, strict=True)])


def diagonal(
    jacobian: Jacobian,
    inputs: Inputs,
    groups: Sequence[Group],
    chunk: int,
    share: tuple[int, int],
    tell: Callable[[int], None],
) -> Tensor:
    """Compute squared norms of gradients, one sweep for each group; see `explicit`. float64."""
    traced = jacobian.directions.traced
    like = jacobian.structure.like
    parts = []
    first, last = share
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        total = torch.zeros(stop - start, jacobian.directions.count, dtype=torch.float64)
        for group in groups:
            for piece in sweep(jacobian, inputs, start, stop, group.items, chunk, like, tell):
                squares = piece.right.square().sum(-1)
                if piece.left is not None:
                    squares = squares * piece.left.square().sum(-1, keepdim=True)
                total += squares.cpu()
        parts.append(total.sum(1) if traced else total.flatten())
    return torch.cat(parts)


@final
class Products:
    """Products K Q = J1 (J2ᵀ Q) with blocks of vectors, in two sweeps, or none where gradients are kept."""

    # Over several processes each holds a share of the examples; what comes together is a parameter-by-block matrix (one
    # all-reduce) and the result's rows.

    def __init__(
        self, jacobian: Jacobian, inputs: Inputs, other: Inputs, groups: Sequence[Group], chunk: int, *, keep: bool
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
        pieces = sweep(self.jacobian, inputs, start, stop, group.items, self.chunk, like, self._tell)
        if self.keep:
            self._kept[key] = pieces
        return pieces


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
