"""A preview of a kernel from gradients hashed into few numbers: CountSketch, and TensorSketch for outer products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from selfdistill._core.rng import derive
from selfdistill.ntk._forecast import Group
from selfdistill.ntk._gram import sweep
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._jacobian import Item, Jacobian, Piece

__all__ = ["sketch"]


def sketch(
    jacobian: Jacobian,
    inputs: Inputs,
    groups: Sequence[Group],
    chunk: int,
    size: int,
    seed: int,
    tell: Callable[[int], None],
) -> Tensor:
    """Hash each example's gradients into ``size`` numbers whose inner products estimate the kernel.

    Args:
        jacobian: Gives the gradients.
        inputs: The examples.
        groups: Parameters by sweep.
        chunk: Examples at once.
        size: Numbers per row. The relative error of an entry falls as ``1 / √size``.
        seed: Of the hash.
        tell: Called with the number of examples that just went through the network.

    Returns:
        ``[N, size]``. Cost: one sweep for each group, and ``O(n R P)`` additions.

    References:
        Charikar, Chen & Farach-Colton (2002), ICALP: CountSketch; Pham & Pagh (2013), KDD: TensorSketch.
    """
    n, r = len(inputs), jacobian.directions.count
    traced = jacobian.directions.traced
    like = jacobian.structure.like
    rows = like.new_zeros(n, 1 if traced else r, size)
    for group in groups:
        for start in range(0, n, chunk):
            stop = min(start + chunk, n)
            pieces = sweep(jacobian, inputs, start, stop, group.items, chunk, like, tell)
            for item, piece in zip(group.items, pieces, strict=True):
                _add(rows[start:stop], piece, item, seed, traced=traced)
    return rows.flatten(0, 1)


def _add(rows: Tensor, piece: Piece, item: Item, seed: int, *, traced: bool) -> None:
    size, g = rows.shape[2], piece.right
    for r in range(g.shape[1]):
        key = (item.name, item.first, r if traced else 0)  # directions that are summed over need hashes of their own
        target = rows[:, 0 if traced else r]
        if piece.left is None:
            _count(target, g[:, r], seed, *key)
        else:
            left = _count(target.new_zeros(len(g), size), piece.left, seed, *key, "in")
            right = _count(target.new_zeros(len(g), size), g[:, r], seed, *key, "out")
            target += torch.fft.irfft(torch.fft.rfft(left) * torch.fft.rfft(right), n=size)


def _count(target: Tensor, values: Tensor, seed: int, *key: str | int) -> Tensor:
    generator = torch.Generator().manual_seed(derive(seed, "sketch", *key))
    bucket = torch.randint(target.shape[1], (values.shape[1],), generator=generator).to(values.device)
    sign = (2 * torch.randint(2, (values.shape[1],), generator=generator) - 1).to(values)
    return target.index_add_(1, bucket, values * sign)
