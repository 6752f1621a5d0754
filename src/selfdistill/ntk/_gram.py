"""The kernel as a matrix: for each group of parameters one sweep over the examples, then one product."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
import torch.distributed
from torch import Tensor

from selfdistill._core import dist
from selfdistill.ntk._forecast import Group
from selfdistill.ntk._heap import release
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._jacobian import Jacobian
from selfdistill.ntk._pieces import Item, Kept, Piece
from selfdistill.ntk._plan import SMALL, block_rows
from selfdistill.ntk._syrk import has_syrk, syrk

__all__ = ["add_product", "diagonal", "explicit", "gathered", "share_of", "sweep"]

_LARGE = 2**21  # bytes of a kernel from which free pages are given back first: their first use anew takes milliseconds


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
    _release_before(shape, like)
    for group in groups:
        wanted: list[Item | Kept] = [*group.items, *group.kept]
        left = sweep(jacobian, inputs, first, last, wanted, chunk, like, tell, fed=True)
        if kernel is None:
            _release_before(shape, like)
            kernel = like.new_zeros(shape)
        kept = {item.name: left.pop() for item in reversed(group.kept)}
        if other is not None:
            for start in range(0, columns, chunk):
                stop = min(start + chunk, columns)
                right = sweep(jacobian, other, start, stop, group.items, chunk, like, tell, fed=True)
                add_product(kernel[:, start * each : stop * each], left, right)
        elif alone:
            _add_square(kernel, left)
        else:
            for begin, end, right in _from_each(left, columns):
                add_product(kernel[:, begin * each : end * each], left, right)
        del left  # before the next group's are made
        room: Tensor | None = None
        for item in group.slabs:
            if jacobian.add_tokens(item, kept[item.name], kernel):
                continue
            room = jacobian.room(group.slabs, last - first, like) if room is None else room
            _add_square(kernel, [jacobian.expand(item, kept[item.name], chunk, room)])
        del kept, room
    assert kernel is not None
    if other is None and alone:
        _mirror(kernel)
    return kernel


def _release_before(shape: tuple[int, int], like: Tensor) -> None:
    """Give free pages back where a kernel is large enough to be worth it."""
    if shape[0] * shape[1] * like.element_size() >= _LARGE:
        release(like.device)


def _add_square(kernel: Tensor, pieces: list[Piece]) -> None:
    """Add the upper half of what some parameters contribute to the kernel of examples with themselves."""
    n = len(pieces[0].right)
    each = len(kernel) // n
    dense = [piece for piece in pieces if piece.left is None and has_syrk(kernel)]
    for piece in dense:
        syrk(kernel, piece.right.flatten(1) if each == 1 else piece.right.flatten(0, 1))
    rest = [piece for piece in pieces if piece.left is not None or not has_syrk(kernel)]
    if rest and each == 1 and has_syrk(kernel) and n <= SMALL:
        _add_factored(kernel, rest)
        return
    for start, stop in block_rows(n, each) if rest else []:
        rows = [piece.rows(start, stop) for piece in rest]
        columns = [piece.rows(start, n) for piece in rest]
        add_product(kernel[start * each : stop * each, start * each :], rows, columns)


def _add_factored(kernel: Tensor, pieces: list[Piece]) -> None:
    """Add the upper half for layers kept as factors, by two half products for each."""
    pairs, outer = kernel.new_empty(2, *kernel.shape)
    for piece in pieces:
        assert piece.left is not None
        pairs.fill_(float(piece.fed and piece.bias))
        syrk(pairs, piece.left)
        syrk(outer.zero_(), piece.right.flatten(1))
        kernel.addcmul_(pairs, outer)


def _mirror(kernel: Tensor, strip: int = 64) -> None:
    """Copy the upper half to the lower one, in strips so that little memory is needed."""
    for start in range(0, len(kernel), strip):
        stop = min(start + strip, len(kernel))
        kernel[stop:, start:stop] = kernel[start:stop, stop:].T
        square = kernel[start:stop, start:stop]
        square.copy_(square.triu() + square.triu(1).T)


def sweep(
    jacobian: Jacobian,
    inputs: Inputs,
    first: int,
    last: int,
    items: Sequence[Item | Kept],
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
        view
        or (jacobian.lend(item, like) if once and isinstance(item, Kept) else jacobian.empty(item, last - first, like))
        for view, item in zip(views, items, strict=True)
    ]
    for start in range(first, last, chunk):
        stop = min(start + chunk, last)
        jacobian.fill(inputs, start, stop, items, [p if once else p.rows(start - first, stop - first) for p in pieces])
        tell(stop - start)
    return pieces


def add_product(kernel: Tensor, left: Sequence[Piece], right: Sequence[Piece]) -> None:
    """Add to a kernel what some parameters contribute."""
    for a, b in zip(left, right, strict=True):
        n, m, r = len(a.right), len(b.right), a.right.shape[1]
        traced = kernel.shape == (n, m)
        x, y = (v.right.flatten(1) if traced else v.right.flatten(0, 1) for v in (a, b))
        if a.left is None or b.left is None:
            kernel.addmm_(x, y.T)
            continue
        pairs = _left(a) @ _left(b).T if a.fed != b.fed else a.left @ b.left.T
        if a.fed and b.fed and a.bias:
            pairs += 1.0
        if traced:
            kernel.addcmul_(pairs, x @ y.T)
        else:
            kernel.view(n, r, m, r).addcmul_(pairs[:, None, :, None], (x @ y.T).view(n, r, m, r))


def _left(piece: Piece) -> Tensor:
    """Give the left factor with its column of ones."""
    assert piece.left is not None
    return torch.nn.functional.pad(piece.left, (0, 1), value=1.0) if piece.fed and piece.bias else piece.left


def _from_each(left: list[Piece], columns: int) -> Generator[tuple[int, int, list[Piece]]]:
    """Send each process's gradients to all: first and last example, and the pieces."""
    for source in range(dist.world()):
        first, last = share_of(columns, source, dist.world())
        yield (
            first,
            last,
            [
                Piece(
                    None if piece.left is None else _sent(piece.left, source, last - first),
                    _sent(piece.right, source, last - first),
                    piece.fed,
                    piece.bias,
                )
                for piece in left
            ],
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
