"""What ridge regression needs of its targets, summed block by block, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.dist import sum_over_processes
from selfdistill._core.rows import left_out
from selfdistill.closed._dense import gram, thin


class Moments:
    """Sums over rows that ridge regression needs of its targets; blocks are added, and processes joined at the end."""

    def __init__(self, r: int, centre: Tensor) -> None:
        self._centre = centre  # near the targets' mean, [K]: products of what is near 0 lose less to rounding
        # Once all is added: sum of w x (q - mean)', the weighted mean of q, and the sum of w |q - mean|^2.
        self.cross = torch.zeros(r, len(centre), dtype=torch.float64, device=centre.device)
        self.mean = self.cross.new_zeros(len(centre))
        self.variance = 0.0
        self._rows, self._sums = self.cross.new_zeros(r), self.cross.new_zeros(2)  # of squares, of weights

    def add(self, x: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Add rows ``[b, r]`` and their targets ``[b, K]``."""
        near = targets - self._centre
        counted = near if weights is None else near * weights[:, None]
        self.cross += thin(x.T, counted).double()
        self.mean += counted.sum(0, dtype=torch.float64)
        self._rows += column_sums(x, weights)
        self._sums[0] += (counted * near).sum(dtype=torch.float64)
        self._sums[1] += len(x) if weights is None else weights.sum(dtype=torch.float64)

    def finish(self, *, shared: bool = False) -> Moments:
        """Turn sums about the centre into those about the mean; nothing is to be added any more."""
        if shared:
            for one in (self.cross, self.mean, self._rows, self._sums):
                sum_over_processes(one)
        shift = self.mean / self._sums[1]
        self.cross -= torch.outer(self._rows, shift)
        self.variance = max(float(self._sums[0] - self._sums[1] * shift.square().sum()), 0.0)
        self.mean = self._centre.double() + shift
        return self

    def energy(self, values: Tensor) -> Tensor:
        """Share of the targets' variance in each eigendirection, float64 ``[r]``; sums to at most 1."""
        shares = self.cross.square().sum(1) / values.clamp(min=1e-300)
        rounding = values < values[0] * 1e-6  # eigenvectors of such values are not orthogonal in float32
        return torch.where(rounding, 0.0, shares / max(self.variance, 1e-300))


@dataclass(frozen=True, eq=False)
class Regression:
    """A ridge regression on a spectrum."""

    weights: Tensor  # of Z, float64 [r, K]
    mean: Tensor  # what it predicts at Z = 0, float64 [K]
    ridge: float

    def __call__(self, z: Tensor) -> Tensor:
        """Predict rows ``[b, r]``: ``[b, K]``, of their dtype."""
        return thin(z, self.weights.to(z.dtype)) + self.mean.to(z.dtype)


def column_sums(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum rows ``[b, r]``, weighted, as a product, which is ten times as fast as ``x.sum(0)``; float64 ``[r]``."""
    return ((x.new_ones(len(x)) if weights is None else weights) @ x).double()


def second_moment(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum products of columns over rows ``[b, r]``, weighted; float64 ``[r, r]``."""
    if weights is not None:
        x = x * weights.sqrt()[:, None]
    return gram(x.T).double()


def without_itself(fitted: Tensor, targets: Tensor, hat: Tensor) -> Tensor:
    """Predict rows by the regression on all others, from what that on all fits and the hat matrix's diagonal."""
    return left_out(targets, targets - fitted, (1 - hat).clamp(min=1e-6))
