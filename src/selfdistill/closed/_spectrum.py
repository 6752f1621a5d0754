"""Kernel ridge regression through one spectral factorisation: every ridge, exact leave-one-out, and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
        values, vectors = torch.linalg.eigh(kernel_rows(kernel, rows, rows).double())
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


@dataclass(frozen=True, eq=False)
class Fold:
    """Ridge regression on some rows, and what it predicts for the others.

    Attributes:
        inside: Positions of the rows it is fitted on.
        outside: Positions of the others.
        features: Centred features of the first, ``[n_in, r]``.
        others: Features of the others, with the same centre.
        gram: Their second moment, float64 ``[r, r]``.
    """

    inside: Tensor
    outside: Tensor
    features: Tensor
    others: Tensor
    gram: Tensor

    def solve(self, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
        """Fit, and predict out of sample.

        Args:
            targets: Those of the rows inside, ``[n_in, K]``.
            ridge: Penalty of the squared norm.

        Returns:
            Leave-one-out predictions inside, predictions outside. Cost: ``n_in r^2 + r^3 / 3`` FLOPs.
        """
        mean = targets.mean(0)
        factor = torch.linalg.cholesky(self.gram + ridge * torch.eye(len(self.gram), dtype=torch.float64))
        half = torch.linalg.solve_triangular(factor.to(self.features.dtype), self.features.T, upper=False)
        weights = torch.cholesky_solve((self.features.T @ (targets - mean)).double(), factor).to(targets.dtype)
        fitted, hat = self.features @ weights + mean, half.square().sum(0) + 1 / len(targets)
        return _without_itself(fitted, targets, hat[:, None]), self.others @ weights + mean


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

    def leave_one_out(self, targets: Tensor, ridges: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Predict each row by the regression on all others, for several ridges in one pass.

        Args:
            targets: q, ``[n, K]``.
            ridges: Penalties, ``[L]``.

        Yields:
            Positions and predictions ``[b, L, K]``. Cost: two passes, ``4 n r K L`` FLOPs.
        """
        dtype, mean, k = targets.dtype, targets.mean(0), targets.shape[1]
        shrink = 1 / (self.values[:, None] + ridges.double())  # [r, L]
        weights = (shrink[:, :, None] * self.moments(targets)[:, None]).to(dtype).flatten(1)
        for rows, z in self.blocks():
            fitted = (z @ weights).view(len(z), len(ridges), k) + mean
            hat = z.square() @ shrink.to(dtype) + 1 / self.n
            yield rows, _without_itself(fitted, targets[rows][:, None], hat[:, :, None])

    def out_of_sample(self, targets: Tensor, ridge: float) -> Tensor:
        """Predict each row by the regression on all others.

        Args:
            targets: q, ``[n, K]``.
            ridge: Penalty.

        Returns:
            ``[n, K]``.
        """
        return torch.cat([part[:, 0] for _, part in self.leave_one_out(targets, torch.tensor([ridge]))])

    def errors(self, targets: Tensor, ridges: Tensor) -> Tensor:
        """Compute the mean squared error of leaving one out.

        Args:
            targets: q, ``[n, K]``.
            ridges: Penalties, ``[L]``.

        Returns:
            float64 ``[L]``.
        """
        total = torch.zeros(len(ridges), dtype=torch.float64)
        for rows, part in self.leave_one_out(targets, ridges):
            total += (part - targets[rows][:, None]).square().sum((0, 2), dtype=torch.float64)
        return total / self.n

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
        found = self.moments(targets).square().sum(1) / self.values.clamp(min=self.values[0] * 1e-12)
        share: Tensor = found / total.clamp(min=1e-300)
        return share

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
        return [_fold(one, two, a, b, gram_a), _fold(two, one, b, a, gram_b)]


def _fold(inside: Tensor, outside: Tensor, features: Tensor, others: Tensor, gram: Tensor) -> Fold:
    centre = features.mean(0)
    wide = centre.double()
    return Fold(inside, outside, features - centre, others - centre, gram - len(features) * torch.outer(wide, wide))


def _without_itself(fitted: Tensor, targets: Tensor, hat: Tensor) -> Tensor:
    return (fitted - hat * targets) / (1 - hat).clamp(min=1e-6)
