"""What an embedding contributes to a kernel: products of gradients at the same token, without a row for each token."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

__all__ = ["TOGETHER", "add_tokens", "token_products"]

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
