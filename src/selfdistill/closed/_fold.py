"""Ridge regression on one part of the rows, judged by the other part."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill.closed._dense import solve_lower, thin
from selfdistill.closed._moments import column_sums, without_itself


class Fold:
    """Ridge regression on some rows, and what it predicts for the others."""

    # inside, outside: positions of the rows it is fitted on, and of the others; gram: second moment of the former.

    def __init__(
        self,
        inside: Tensor,
        outside: Tensor,
        features: Tensor,
        others: Tensor,
        gram: Tensor,
        weights: Tensor | None = None,
    ) -> None:
        self.inside, self.outside = inside, outside
        self._features, self._others, self._weights = features, others, weights
        self._total = len(inside) if weights is None else float(weights.sum())
        self._centre = column_sums(features, weights) / self._total
        self._gram = gram - self._total * torch.outer(self._centre, self._centre)
        self._factors: dict[float, Tensor] = {}
        self._hats: dict[float, Tensor] = {}

    def _mean(self, targets: Tensor) -> Tensor:
        return targets.mean(0) if self._weights is None else self._weights @ targets / self._total

    def _predict(self, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        offset = self._mean(targets) - self._centre.to(weights.dtype) @ weights
        return thin(rows, weights) + offset

    def _factor(self, ridge: float) -> Tensor:
        """Cholesky factor, the same for all targets; a ridge below the moments' rounding errors is raised."""
        if ridge not in self._factors:
            total = self._gram.clone()
            rounding = 1e-6 * float(total.diagonal().max())
            total.diagonal().add_(ridge)
            factor, failed = torch.linalg.cholesky_ex(total.to(self._features.dtype))
            while failed:
                total.diagonal().add_(rounding)
                factor, failed = torch.linalg.cholesky_ex(total.to(self._features.dtype))
                rounding *= 4
            self._factors[ridge] = factor
        return self._factors[ridge]

    def _hat(self, ridge: float) -> Tensor:
        """Diagonal of the hat matrix, ``[n_in, 1]``."""
        if ridge not in self._hats:
            centred = self._features - self._centre.to(self._features.dtype)
            half = solve_lower(self._factor(ridge), centred.T).T
            hat = half.square_().sum(1) + 1 / self._total
            self._hats[ridge] = (hat if self._weights is None else hat * self._weights)[:, None]
        return self._hats[ridge]

    def fit(self, targets: Tensor, ridge: float) -> Tensor:
        """Fit the rows inside."""
        centred = targets - self._mean(targets)
        if self._weights is not None:
            centred *= self._weights[:, None]
        return torch.cholesky_solve(thin(self._features.T, centred), self._factor(ridge))

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Predict the rows outside."""
        return self._predict(self._others, targets, weights)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Predict each row inside by the regression on all others inside."""
        return without_itself(self._predict(self._features, targets, weights), targets, self._hat(ridge))
