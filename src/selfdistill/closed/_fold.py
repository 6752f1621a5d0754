"""Ridge regression on one part of the rows, judged by the other part."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.closed._dense import cholesky, gram, inverse_lower, solve_lower, thin
from selfdistill.closed._moments import column_sums, without_itself


class Fold:
    """Ridge regression on some rows, and what it predicts for the others."""

    # inside, outside: positions of the rows it is fitted on, and of the others; moment: second moment of the former.
    # Without it the system is that of the rows, whose products with each other are fewer than those of columns.

    def __init__(
        self,
        inside: Tensor,
        outside: Tensor,
        features: Tensor,
        others: Tensor,
        moment: Tensor | None,
        weights: Tensor | None = None,
    ) -> None:
        self.inside, self.outside = inside, outside
        self._features, self._others, self._weights = features, others, weights
        self._total = len(inside) if weights is None else float(weights.sum())
        self._centre = column_sums(features, weights) / self._total
        self._rows = self._centred() if moment is None else None
        if self._rows is not None:
            self._matrix = gram(self._rows)
        elif moment is not None:
            self._matrix = torch.addr(moment, self._centre, self._centre, alpha=-self._total).to(features.dtype)
        self._diagonal = self._matrix.diagonal().clone()
        self._factors: dict[float, tuple[Tensor, float]] = {}
        self._hats: dict[float, Tensor] = {}

    def _centred(self) -> Tensor:
        """Rows inside less their mean, each times the root of its weight."""
        centred = self._features - self._centre.to(self._features.dtype)
        return centred if self._weights is None else centred.mul_(self._weights.sqrt()[:, None])

    def _mean(self, targets: Tensor) -> Tensor:
        return targets.mean(0) if self._weights is None else self._weights @ targets / self._total

    def _predict(self, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        offset = self._mean(targets) - self._centre.to(weights.dtype) @ weights
        return thin(rows, weights) + offset

    def _factor(self, ridge: float) -> tuple[Tensor, float]:
        """Cholesky factor, the same for all targets, and the ridge, raised where it is below rounding errors."""
        if ridge not in self._factors:
            used, rounding = ridge, 1e-6 * float(self._diagonal.max())
            while True:
                self._matrix.diagonal().copy_(self._diagonal + used)
                factor = cholesky(self._matrix)
                if factor is not None:
                    break
                if not math.isfinite(rounding):
                    raise DataError("products of these features are not finite", "Scale or drop the largest columns.")
                used += rounding
                rounding *= 4
            self._factors[ridge] = factor, used
        return self._factors[ridge]

    def _hat(self, ridge: float) -> Tensor:
        """Diagonal of the hat matrix, ``[n_in, 1]``."""
        if ridge not in self._hats:
            factor, used = self._factor(ridge)
            each = 1.0 if self._weights is None else self._weights
            if self._rows is None:
                hat = solve_lower(factor, self._centred().T).T.square_().sum(1)
            else:
                hat = 1 - used * inverse_lower(factor).square_().sum(0)
            self._hats[ridge] = (hat + each / self._total)[:, None]
        return self._hats[ridge]

    def fit(self, targets: Tensor, ridge: float) -> Tensor:
        """Fit the rows inside."""
        centred, factor = targets - self._mean(targets), self._factor(ridge)[0]
        if self._rows is not None:
            scaled = centred if self._weights is None else centred * self._weights.sqrt()[:, None]
            return thin(self._rows.T, torch.cholesky_solve(scaled, factor))
        if self._weights is not None:
            centred *= self._weights[:, None]
        return torch.cholesky_solve(thin(self._features.T, centred), factor)

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Predict the rows outside."""
        return self._predict(self._others, targets, weights)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Predict each row inside by the regression on all others inside."""
        return without_itself(self._predict(self._features, targets, weights), targets, self._hat(ridge))
