"""Per-sample values staged during an epoch and merged over processes at its end."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.dist import rank, sum_over_processes
from selfdistill._core.row_blocks import kept_in_files, row_blocks, row_zeros
from selfdistill._core.shards import current_shard

_TOGETHER = 4096  # rows that are added at once, about: small operations cost as much as their call


@final
class SampleMean(nn.Module):
    """Mean of what was written to each example since the last merge, over all writes and all processes."""

    # \bar v_i = \sum_{p} \sum_{w \in W_{ip}} v_{w} \Big/ \sum_p |W_{ip}|
    # A sampler that pads its shards writes some examples twice; the division by the count of writes makes that
    # harmless. Both buffers merge by a sum over processes, unless each keeps rows of its own. Writes are collected and
    # added some thousand rows at a time, at the latest where the sums are read or saved. Memory: ``4 n (width + 1)``
    # bytes, and the rows not yet added. Where the sums lie in a file, `merge` divides them there, and what it returns
    # holds until the next write.

    total: Tensor
    count: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("total", row_zeros(size, width))
        self.register_buffer("count", torch.zeros(size))
        self._pending: list[tuple[Tensor, Tensor | np.ndarray]] = []
        self._in_file, self._divided = kept_in_files(), False
        self._spread = current_shard(size).spread
        self.visits = 0  # writes of the last merge

    def stage(self, index: Tensor, values: Tensor | np.ndarray) -> None:
        """Add one write per row."""
        self._pending.append((index, values.detach() if isinstance(values, Tensor) else values))
        if len(self._pending) * len(values) >= _TOGETHER:
            self._add()

    @torch.no_grad()
    def _add(self) -> None:
        """Add what was written to the sums, in the order of the writes."""
        if self._divided:
            self.total.zero_()
            self._divided = False
        if not self._pending:
            return
        index, kept = torch.cat([index for index, _ in self._pending]), [values for _, values in self._pending]
        if all(isinstance(values, np.ndarray) for values in kept):
            kept = [np.concatenate(kept)]  # in one call, where torch would take one for each
        values = torch.cat([torch.as_tensor(values) for values in kept])
        self._pending = []
        self.total.index_add_(0, index, values.to(self.total.dtype))
        self.count.index_add_(0, index, torch.ones_like(index, dtype=self.count.dtype))

    def _apply(self, *arguments: Any, **named: Any) -> SampleMean:
        self._add()  # before the sums move to another device
        moved: SampleMean = super()._apply(*arguments, **named)  # type: ignore[no-untyped-call]  # torch's
        return moved

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._add()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._pending, self._divided = [], False
        super()._load_from_state_dict(*arguments)

    def clear(self) -> None:
        """Forget what is staged."""
        self._pending, self._divided = [], False
        self.total.zero_()
        self.count.zero_()

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the sums of all processes to the first, for it to save; what `merge` gives stays the same."""
        self._add()
        if not self._spread:
            self._sum()
            for part in (self.total, self.count):
                part.mul_(float(rank() == 0))

    def _sum(self) -> None:
        """Sum over processes."""
        for rows in row_blocks(*self.total.shape):
            sum_over_processes(self.total[rows])
        sum_over_processes(self.count)

    @torch.no_grad()
    def merge(self) -> tuple[Tensor, Tensor]:
        """Return the means and clear the stage. Cost: a sum over processes of ``4 n (width + 1)`` bytes."""
        self._add()
        if not self._spread:
            self._sum()
        written, self.visits = self.count > 0, int(self.count.sum())
        self.total.div_(self.count.clamp(min=1)[:, None])
        self.count.zero_()
        self._divided = True
        return self.total if self._in_file else self.total.clone(), written
