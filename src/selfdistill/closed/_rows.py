"""From inputs, wherever they lie, to unit rows: what a kernel machine does with its inputs, in blocks."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.dist import share, sum_over_processes
from selfdistill._core.errors import DataError
from selfdistill.networks._kernel_machine import unit_rows

_BLOCK = 2**22  # numbers of one block that is summed in 64 bit
_FIRST = 1000  # rows whose mean is near that of all


class InputRows(Protocol):
    """Inputs that can be read in parts: a tensor, an array, a memory map, or what makes them when asked for."""

    @property
    def shape(self) -> Any:
        """Number of rows and shape of one."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Read rows, by slice or positions int64 ``[b]``: a tensor or an array."""
        ...


class Rows:
    """Unit rows of inputs; columns are standardised first, if so wished."""

    def __init__(
        self,
        inputs: InputRows,
        *,
        standardise: bool,
        dtype: torch.dtype,
        device: torch.device,
        weights: np.ndarray | None = None,
        shared: bool = False,
    ) -> None:
        self.inputs, self.dtype, self.device = inputs, dtype, device
        self.d = math.prod(inputs.shape[1:])
        mean, variance = self._moments(weights, shared)
        deviation = variance.sqrt()
        varies = deviation > 1e-6 * (1 + mean.abs())
        if not standardise:
            mean, varies, deviation = torch.zeros_like(mean), torch.ones_like(varies), torch.ones_like(mean)
        self.shift = mean.to(dtype)  # [d]
        self.factor = torch.where(varies, 1 / deviation, 0.0).to(dtype)  # [d]; constant columns say nothing
        square = float((self.factor.double().square() * (variance + (self._mean - mean).square())).sum())
        if not square > 0:
            raise DataError("no column of the inputs varies", "Give features that differ between examples.")
        self.constant = square**0.5  # root mean square of the norms, see `unit_rows`

    def _moments(self, weights: np.ndarray | None, shared: bool) -> tuple[Tensor, Tensor]:
        """Mean and variance of each column, in one pass about a point near the mean, which keeps what 32 bit hold."""
        n, step = self.inputs.shape[0], max(1, _BLOCK // self.d)
        own = share(n) if shared else slice(0, n)
        near = self._read(slice(0, min(n, _FIRST, step)), torch.float64).mean(0)
        sums = near.new_zeros(2, self.d)
        count = torch.ones(n, dtype=torch.float64) if weights is None else torch.from_numpy(weights)
        for start in range(own.start, own.stop, step):
            rows = slice(start, min(start + step, own.stop))
            part, w = self._read(rows, self.dtype) - near.to(self.dtype), count[rows].to(self.device, self.dtype)
            sums[0] += w @ part
            sums[1] += w @ part.square_()
        if shared:
            sum_over_processes(sums)
        first, second = sums / float(count.sum())
        self._mean = near.to(self.dtype).double() + first
        if not bool(self._mean.isfinite().all()):
            raise DataError("the inputs hold numbers that are not finite", "Fill or drop them.")
        return self._mean, (second - first.square()).clamp(min=0)

    def _read(self, rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        if isinstance(self.inputs, np.ndarray):
            part = self.inputs[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
            wide = np.float64 if dtype == torch.float64 else np.float32
            found = torch.from_numpy(np.array(part, dtype=wide, order="C"))  # a copy: a map may be read-only
        else:
            found = self.inputs[rows]
        return found.flatten(1).to(self.device, dtype)

    def raw(self, rows: slice | Tensor) -> Tensor:
        """Read inputs as they are."""
        return self._read(rows, torch.float32).cpu()

    def __call__(self, rows: slice | Tensor) -> Tensor:
        """Compute unit rows."""
        return unit_rows((self._read(rows, self.dtype) - self.shift).mul_(self.factor), self.constant)
