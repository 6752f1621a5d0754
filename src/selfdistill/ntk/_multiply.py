"""Products of gradients, added to a kernel: of two sets of examples, or the upper half of one with itself."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from selfdistill.ntk._forecast import Piece

SMALL = 512  # up to this many examples, half products of factors take two more matrices of the kernel's size
_BLOCK_ROWS = 64  # at least
_BLOCKS = 16  # a symmetric product is done in this many block rows, upper half only


def block_rows(n: int, each: int = 1) -> list[tuple[int, int]]:
    """Cut n examples into blocks, of which a symmetric product does the upper half."""
    size = max(-(-_BLOCK_ROWS // each), -(-n // _BLOCKS))
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def add_square(kernel: Tensor, pieces: list[Piece]) -> None:
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


def mirror(kernel: Tensor) -> None:
    """Copy the upper half to the lower one, in strips of 64 rows so that little memory is needed."""
    for start in range(0, len(kernel), 64):
        stop = min(start + 64, len(kernel))
        kernel[stop:, start:stop] = kernel[start:stop, stop:].T
        square = kernel[start:stop, start:stop]
        square.copy_(square.triu() + square.triu(1).T)


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


def has_syrk(kernel: Tensor) -> bool:
    """Say whether `syrk` takes a kernel: on the CPU, in 32 or 64 bit."""
    return kernel.device.type == "cpu" and kernel.dtype in {torch.float32, torch.float64}


def syrk(kernel: Tensor, rows: Tensor) -> None:
    """Add the products of rows with each other to the upper half of a kernel."""
    from scipy.linalg import blas

    update = blas.ssyrk if kernel.dtype == torch.float32 else blas.dsyrk
    whole = kernel.numpy().T  # in the order of Fortran, where this half is the lower one
    out = update(1.0, rows.numpy().T, beta=1.0, c=whole, trans=1, lower=1, overwrite_c=1)
    if not np.shares_memory(out, whole):
        whole[...] = out


TOGETHER = 128  # rows of a product, at least, so that it is quick
_EXAMPLES = 64  # whose gradients are sorted at once


def add_tokens(kernel: Tensor, tokens: Tensor, grads: Tensor, padding: int | None) -> None:
    """Add what an embedding contributes to the kernel of examples with themselves."""
    # K_ij += sum over tokens v of < sum of i's gradients at v, sum of j's gradients at v >: rows for pairs of a token
    # and an example that there are, sorted by token, multiplied in blocks. tokens [n, ...], grads [n, R, ..., d].
    n, r, d = len(tokens), grads.shape[1], grads.shape[-1]
    flat, each = tokens.reshape(n, -1), len(kernel) // n
    keys = flat * n + torch.arange(n, device=flat.device)[:, None]  # by token, then by example
    kept = torch.ones_like(flat, dtype=torch.bool) if padding is None else flat != padding
    pairs, inverse = torch.unique(keys[kept], return_inverse=True)
    where = torch.empty_like(flat).masked_scatter_(kept, inverse)
    summed = grads.new_zeros(len(pairs), r, d)
    for start in range(0, n, _EXAMPLES):
        some = slice(start, start + _EXAMPLES)
        rows = grads[some].reshape(-1, r, flat.shape[1], d).transpose(1, 2)
        summed.index_add_(0, where[some][kept[some]], rows[kept[some]])
    token, example = pairs // n, pairs % n
    if each > 1:
        token = token.repeat_interleave(each)
        example = (example[:, None] * each + torch.arange(each, device=example.device)).flatten()
    rows = summed.flatten(1) if each == 1 else summed.flatten(0, 1)
    for start, stop in _blocks(token):
        at, of = example[start:stop], token[start:stop]
        product = rows[start:stop] @ rows[start:stop].T
        left, right = (of[:, None] == of).nonzero(as_tuple=True)
        kernel.view(-1).index_add_(0, at[left] * len(kernel) + at[right], product[left, right])


def _blocks(token: Tensor) -> Generator[tuple[int, int]]:
    """Cut sorted tokens so that no token is in two blocks, none shorter than need be."""
    start = stop = 0
    for count in torch.unique_consecutive(token, return_counts=True)[1].tolist():
        stop += count
        if stop - start >= TOGETHER:
            yield start, stop
            start = stop
    if stop > start:
        yield start, stop


def token_products(n: int, length: int, vocabulary: int, each: int) -> float:
    """Forecast how many products of two rows `add_tokens` takes, as if all tokens were equally frequent."""
    rows = n * each * (1 - (1 - 1 / vocabulary) ** length)  # of a token
    return vocabulary * rows * min(max(TOGETHER, rows), vocabulary * rows)
