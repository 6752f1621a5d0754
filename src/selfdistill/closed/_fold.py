"""Ridge regression on one part of the rows, judged by the other part."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill.closed._moments import column_sums, without_itself

__all__ = ["Fold"]


class Fold:
    """Ridge regression on some rows, and what it predicts for the others.

    Attributes:
        inside: Positions of the rows it is fitted on.
        outside: Positions of the others.

    Args:
        inside: Positions of the rows to fit.
        outside: Positions of the others.
        features: Features of the first, ``[n_in, r]``.
        others: Features of the others.
        gram: Second moment of the first, weighted, float64 ``[r, r]``.
        weights: How many rows each of the first counts as, ``[n_in]``; one if left out.
    """

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
        return torch.addmm(offset, rows, weights)

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
            half = torch.linalg.solve_triangular(self._factor(ridge), centred.T, upper=False).T
            hat = half.square_().sum(1) + 1 / self._total
            self._hats[ridge] = (hat if self._weights is None else hat * self._weights)[:, None]
        return self._hats[ridge]

    def fit(self, targets: Tensor, ridge: float) -> Tensor:
        """Fit the rows inside.

        Args:
            targets: Theirs, ``[n_in, K]``.
            ridge: Penalty of the squared norm.

        Returns:
            Weights, ``[r, K]``. Cost: ``2 n_in r K`` FLOPs, and ``r^3 / 3`` for each new ridge.
        """
        centred = targets - self._mean(targets)
        if self._weights is not None:
            centred *= self._weights[:, None]
        return torch.cholesky_solve(self._features.T @ centred, self._factor(ridge))

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Predict the rows outside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.

        Returns:
            ``[n_out, K]``.
        """
        return self._predict(self._others, targets, weights)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Predict each row inside by the regression on all others inside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.
            ridge: Its penalty.

        Returns:
            ``[n_in, K]``. Cost: ``n_in r^2`` FLOPs for each new ridge.
        """
        return without_itself(self._predict(self._features, targets, weights), targets, self._hat(ridge))
