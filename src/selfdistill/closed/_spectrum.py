"""Kernel ridge regression through one spectral factorisation: every ridge, exact leave-one-out, and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from selfdistill._core.left_out import left_out
from selfdistill.networks import kernel_rows

__all__ = ["Fold", "Landmarks", "Spectrum", "choose_landmarks"]

_BLOCK = 2**25  # numbers of one block of features


def choose_landmarks(n: int, most: int) -> Tensor:
    """Choose rows evenly at random, with a fixed seed: the same rows for the same n.

    Args:
        n: Number of rows.
        most: Number of landmarks, if there are as many rows.

    Returns:
        Positions, int64, increasing.

    Example:
        >>> choose_landmarks(3, 10).tolist()
        [0, 1, 2]
    """
    if n <= most:
        return torch.arange(n)
    generator = torch.Generator().manual_seed(n)
    return torch.randperm(n, generator=generator)[:most].sort().values


class Landmarks:
    r"""Features whose inner products are the kernel, or its Nyström approximation from m landmarks.

    With :math:`K_{LL} = U E U^\top`, a row becomes :math:`\varphi(x) = k(x, L)\,U E^{-1/2}`, so that
    :math:`\varphi(x)^\top\varphi(x')` is :math:`k(x, L) K_{LL}^{+} k(L, x')`; exact where all rows are landmarks.

    Args:
        kernel: One of `selfdistill.networks.KERNELS`.
        rows: The landmarks, unit rows ``[m, d]``.

    References:
        Williams & Seeger (2001), "Using the Nyström method to speed up kernel machines".
    """

    def __init__(self, kernel: str, rows: Tensor) -> None:
        self.kernel, self.rows = kernel, rows
        values, vectors = torch.linalg.eigh(kernel_rows(kernel, rows, rows))
        kept = values > values[-1] * (1e-12 if rows.dtype == torch.float64 else 3e-6)
        self.whiten = (vectors[:, kept] / values[kept].sqrt()).to(rows.dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """Compute features.

        Args:
            rows: Unit rows ``[b, d]``.

        Returns:
            ``[b, r]``, r at most m. Cost: ``2 b m (d + r)`` FLOPs.
        """
        features: Tensor = kernel_rows(self.kernel, rows, self.rows) @ self.whiten
        return features


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
        gram: Second moment of the first, float64 ``[r, r]``.
    """

    def __init__(self, inside: Tensor, outside: Tensor, features: Tensor, others: Tensor, gram: Tensor) -> None:
        centre = features.mean(0)
        wide = centre.double()
        self.inside, self.outside = inside, outside
        self._features, self._others = features - centre, others - centre
        self._gram = gram - len(features) * torch.outer(wide, wide)
        self._factors: dict[float, Tensor] = {}
        self._hats: dict[float, Tensor] = {}

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
            self._hats[ridge] = (half.square_().sum(0) + 1 / len(self.inside))[:, None]
        return self._hats[ridge]

    def fit(self, targets: Tensor, ridge: float) -> Tensor:
        """Fit the rows inside.

        Args:
            targets: Theirs, ``[n_in, K]``.
            ridge: Penalty of the squared norm.

        Returns:
            Weights, ``[r, K]``. Cost: ``2 n_in r K`` FLOPs, and ``r^3 / 3`` for each new ridge.
        """
        moments = (self._features.T @ (targets - targets.mean(0))).double()
        return torch.cholesky_solve(moments, self._factor(ridge)).to(targets.dtype)

    def predict(self, targets: Tensor, weights: Tensor) -> Tensor:
        """Predict the rows outside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.

        Returns:
            ``[n_out, K]``.
        """
        return self._others @ weights + targets.mean(0)

    def leave_one_out(self, targets: Tensor, weights: Tensor, ridge: float) -> Tensor:
        """Predict each row inside by the regression on all others inside.

        Args:
            targets: Of the rows inside, ``[n_in, K]``.
            weights: What `fit` made of them.
            ridge: Its penalty.

        Returns:
            ``[n_in, K]``. Cost: ``n_in r^2`` FLOPs for each new ridge.
        """
        return _without_itself(self._features @ weights + targets.mean(0), targets, self._hat(ridge))


class Spectrum:
    r"""Eigenpairs of the centred second moment of features, from which every ridge regression on them follows.

    With centred features :math:`\Phi - 1\mu^\top` of second moment :math:`Q\Lambda Q^\top` and
    :math:`Z = (\Phi - 1\mu^\top)Q`, ridge regression with an intercept that is not penalised predicts

    .. math:: \hat f = \bar q + Z (\Lambda + \lambda)^{-1} Z^\top (q - \bar q), \qquad
              h_i = \tfrac1n + \sum_k \frac{z_{ik}^2}{\Lambda_k + \lambda}, \qquad
              f_i^{(-i)} = \frac{\hat f_i - h_i q_i}{1 - h_i},

    the last of which leaves row i out exactly. :math:`Z\Lambda^{-1/2}` are the eigenvectors of the centred kernel: the
    directions of anisotropic information retrieval, learned in their order.

    Args:
        features: From positions (a slice) to features ``[b, r]``; called anew for each pass where they are not kept.
        n: Number of rows.
        keep: Whether to keep Z in memory, ``4 n r`` bytes in float32.

    References:
        Golub, Heath & Wahba (1979), "Generalized cross-validation as a method for choosing a good ridge parameter".
    """

    def __init__(self, features: Callable[[slice], Tensor], n: int, *, keep: bool = True) -> None:
        self.n, self._features = n, features
        first = features(slice(0, min(n, 2)))
        width = first.shape[1]
        self._step = max(1, _BLOCK // max(width, 1))
        total = first.new_zeros(width, dtype=torch.float64)
        moment = torch.zeros(width, width, dtype=torch.float64)
        self._kept = first.new_empty(n, width) if keep else None
        self._hats: dict[float, Tensor] = {}
        for rows in self._slices():
            part = features(rows)
            total += part.sum(0, dtype=torch.float64)
            moment += (part.T @ part).double()
            if self._kept is not None:
                self._kept[rows] = part
        self.mean = (total / n).to(first.dtype)
        moment -= torch.outer(total, total) / n
        values, self.rotation = torch.linalg.eigh(moment if first.dtype == torch.float64 else moment.float())
        self.values = values.double().clamp(min=0).flip(0)
        self.rotation = self.rotation.flip(1).to(first.dtype)
        if self._kept is not None:
            for rows in self._slices():
                self._kept[rows] = self._rotated(self._kept[rows])

    def _slices(self) -> Iterator[slice]:
        for start in range(0, self.n, self._step):
            yield slice(start, min(start + self._step, self.n))

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Go through the rows once.

        Yields:
            Positions and their Z.
        """
        for rows in self._slices():
            part = self._kept[rows] if self._kept is not None else self._rotated(self._features(rows))
            yield rows, part

    def _rotated(self, features: Tensor) -> Tensor:
        rotated: Tensor = (features - self.mean) @ self.rotation
        return rotated

    @property
    def scale(self) -> float:
        """Mean diagonal of the centred kernel: ridges are told in this unit."""
        return float(self.values.sum()) / self.n

    def moments(self, targets: Tensor) -> Tensor:
        """Compute ``Z' (q - mean q)``, float64 ``[r, K]``.

        Args:
            targets: q, ``[n, K]``.

        Returns:
            The moments. Cost: one pass, ``2 n r K`` FLOPs.
        """
        mean = targets.mean(0)
        total = torch.zeros(len(self.values), targets.shape[1], dtype=torch.float64)
        for rows, z in self.blocks():
            total += (z.T @ (targets[rows] - mean)).double()
        return total

    def out_of_sample(self, targets: Sequence[Tensor], ridges: Sequence[float]) -> list[Tensor]:
        """Predict each row by the regression on all others, for several targets at once.

        Args:
            targets: Each ``[n, K]``.
            ridges: The penalty of each.

        Returns:
            Predictions, each ``[n, K]``. Cost: two passes, and ``4 n r K`` FLOPs for each.
        """
        unique = {id(one): one for one in targets}
        together = self.moments(torch.cat(list(unique.values()), 1))
        parts = torch.split(together, [one.shape[1] for one in unique.values()], 1)
        moments = dict(zip(unique, parts, strict=True))
        weights = [moments[id(q)] / (self.values + ridge)[:, None] for q, ridge in zip(targets, ridges, strict=True)]
        found = [torch.empty_like(one) for one in targets]
        missing = sorted(set(ridges) - set(self._hats))
        hats = self._hats | {ridge: torch.empty(self.n, dtype=self.mean.dtype) for ridge in missing}
        for rows, z in self.blocks():
            if missing:
                shrink = 1 / (self.values[:, None] + torch.tensor(missing, dtype=torch.float64))
                for ridge, hat in zip(missing, (z.square() @ shrink.to(z.dtype)).T, strict=True):
                    hats[ridge][rows] = hat + 1 / self.n
            for out, q, w, ridge in zip(found, targets, weights, ridges, strict=True):
                fitted = z @ w.to(q.dtype) + q.mean(0)
                out[rows] = _without_itself(fitted, q[rows], hats[ridge][rows, None])
        self._hats = hats
        return found

    def errors(self, targets: Tensor, ridges: Tensor, most: int = 4096) -> Tensor:
        """Compute the mean squared error of leaving one out.

        Args:
            targets: q, ``[n, K]``.
            ridges: Penalties, ``[L]``.
            most: Rows that the error is averaged over, evenly spread; the regression is on all.

        Returns:
            float64 ``[L]``. Cost: two passes.
        """
        shrink = 1 / (self.values[:, None] + ridges.double())  # [r, L]
        moments, mean, stride = self.moments(targets), targets.mean(0), -(-self.n // most)
        total, count = torch.zeros(len(ridges), dtype=torch.float64), 0
        for rows, block in self.blocks():
            z, q = block[::stride], targets[rows][::stride]
            hats = z.square() @ shrink.to(z.dtype) + 1 / self.n
            for i in range(len(ridges)):
                fitted = z @ (shrink[:, i : i + 1] * moments).to(z.dtype) + mean
                total[i] += (_without_itself(fitted, q, hats[:, i, None]) - q).square().sum(dtype=torch.float64)
            count += len(z)
        return total / count

    def coefficients(self, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
        """Fit all rows.

        Args:
            targets: q, ``[n, K]``.
            ridge: Penalty.

        Returns:
            Weights ``[r, K]`` of the features as they came, and the offset ``[K]``.
        """
        shrunk = self.moments(targets) / (self.values + ridge)[:, None]
        weights = self.rotation.double() @ shrunk
        return weights, targets.mean(0).double() - self.mean.double() @ weights

    def energy(self, targets: Tensor) -> Tensor:
        """Share of the targets' variance in each eigendirection, float64 ``[r]``; sums to at most 1.

        Args:
            targets: q, ``[n, K]``.

        Returns:
            The shares, in the order of the eigenvalues.
        """
        total = (targets - targets.mean(0)).square().sum(dtype=torch.float64)
        found = self.moments(targets).square().sum(1) / self.values.clamp(min=1e-300)
        rounding = self.values < self.values[0] * 1e-6  # eigenvectors of such values are not orthogonal in float32
        return torch.where(rounding, 0.0, found / total.clamp(min=1e-300))

    def halves(self, parts: Tensor) -> list[Fold]:
        """Split the rows.

        Args:
            parts: bool ``[n]``: which rows belong to the second half. Z must be in memory.

        Returns:
            Two folds: fitted on the first half, and on the second.
        """
        z = self._kept
        assert z is not None
        one, two = (~parts).nonzero().flatten(), parts.nonzero().flatten()
        a, b = z[one], z[two]
        gram_a = (a.T @ a).double()
        gram_b = torch.diag(self.values) - gram_a
        return [Fold(one, two, a, b, gram_a), Fold(two, one, b, a, gram_b)]


def _without_itself(fitted: Tensor, targets: Tensor, hat: Tensor) -> Tensor:
    return left_out(targets, targets - fitted, (1 - hat).clamp(min=1e-6))
