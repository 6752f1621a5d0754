"""Ridge regression on one part of the rows, judged by the other part."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill.closed._moments import without_itself

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
        self._weights = weights
        self._total = len(inside) if weights is None else float(weights.sum())
        centre = self._mean(features)
        wide = centre.double()
        self.inside, self.outside = inside, outside
        self._features, self._others = features - centre, others - centre
        self._gram = gram - self._total * torch.outer(wide, wide)
        self._factors: dict[float, Tensor] = {}
        self._hats: dict[float, Tensor] = {}

    def _mean(self, values: Tensor) -> Tensor:
        return values.mean(0) if self._weights is None else self._weights @ values / self._total

    def _factor(self, ridge: float) -> Tensor:
        """Cholesky factor, the same for all targets; a ridge below the moments' rounding errors is raised."""
        if ridge not in self._factors:
            rounding, total = 1e-6 * float(self._gram.diagonal().max()), self._gram.clone()
            total.diagonal().add_(ridge)
            factor, failed = torch.linalg.cholesky_ex(total)
            while failed:
                total.diagonal().add_(rounding)
                factor, failed = torch.linalg.cholesky_ex(total)
                rounding *= 4
            self._factors[ridge] = factor
        return self._factors[ridge]

    def _hat(self, ridge: float) -> Tensor:
        """Diagonal of the hat matrix, ``[n_in, 1]``."""
        if ridge not in self._hats:
            factor = self._factor(ridge).to(self._features.dtype)
            half = torch.linalg.solve_triangular(factor, self._features.T, upper=False)
            hat = half.square_().sum(0) + 1 / self._total
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
        moments = (self._features.T @ centred).double()
        return torch.cholesky_solve(moments, self._factor(ridge)).to(targets.dtype)

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Predict the rows outside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.

        Returns:
            ``[n_out, K]``.
        """
        return self._others @ weights + self._mean(targets)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Predict each row inside by the regression on all others inside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.
            ridge: Its penalty.

        Returns:
            ``[n_in, K]``. Cost: ``n_in r^2`` FLOPs for each new ridge.
        """
        return without_itself(self._features @ weights + self._mean(targets), targets, self._hat(ridge))
