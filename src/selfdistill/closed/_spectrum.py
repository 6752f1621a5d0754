"""Kernel ridge regression through one spectral factorisation: every ridge, exact leave-one-out, and folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from selfdistill._core.dist import from_first, share, sum_over_processes
from selfdistill.closed._dense import eigenpairs, product
from selfdistill.closed._fold import Fold
from selfdistill.closed._moments import Moments, Regression, column_sums, second_moment, without_itself

Features: TypeAlias = Callable[[Any], Tensor]
_BLOCK = 2**23  # numbers of one block of features
_NEAR = 64  # rows whose mean is near that of all
_WIDE_ROWS = 50_000  # rows from which eigenpairs are taken in 64 bit: rounding of the largest reaches the ridge


class Spectrum:
    """Eigenpairs of the centred second moment of features, from which every ridge regression on them follows."""

    # With weights w_i of sum W, features less their weighted mean, F, their second moment F' w F = Q diag(values) Q'
    # and Z = F Q, ridge regression of targets q with an intercept that is not penalised predicts
    #     fit_i = mean(q) + z_i (values + ridge)^-1 Z' w (q - mean(q)),
    #     hat_i = w_i (1 / W + sum over k of z_ik^2 / (values_k + ridge)),
    #     without row i: (fit_i - hat_i q_i) / (1 - hat_i), exactly, whatever its weight.
    # Without weights Z values^-1/2 are the eigenvectors of the centred kernel: the directions of anisotropic
    # information retrieval, learned in their order. Golub, Heath & Wahba (1979), "Generalized cross-validation as a
    # method for choosing a good ridge parameter". Eigenvalues fall, float64 [r]; Z is kept, 4 n r bytes, or computed
    # anew in each pass from `features`, which are called with a slice or positions; `rotated` gives their product with
    # a matrix more quickly, where there is one. With `shared`, each process goes through its share of the rows, and
    # sums are joined.

    def __init__(
        self,
        features: Features,
        n: int,
        *,
        keep: bool = True,
        step: int | None = None,
        weights: Tensor | None = None,
        rotated: Callable[[Tensor], Features] | None = None,
        targets: Callable[[slice], Tensor] | None = None,
        shared: bool = False,
    ) -> None:
        self.n, self._features, self._shared = n, features, shared
        self._own = share(n) if shared else slice(0, n)
        some = features(slice(0, min(n, _NEAR)))
        width = some.shape[1]
        self.step = step or max(1, _BLOCK // max(width, 1))
        self._weights = None if weights is None else weights.to(some)
        self.total = float(n) if weights is None else float(weights.sum())
        self._kept = some.new_empty(self._own.stop - self._own.start, width) if keep else None
        self.first: Moments | None = None
        near = some.mean(0)  # products of what is near 0 lose less to rounding
        sums, moment = self._first_pass(near, targets)
        shift = sums / self.total
        self.mean = near + shift.to(near.dtype)
        moment.addr_(shift, shift, alpha=-self.total)
        narrow = some.dtype == torch.float32 and n < _WIDE_ROWS

        def solve() -> list[Tensor]:
            return [part.cpu() for part in eigenpairs(moment.float() if narrow else moment)]

        values, rotation = (part.to(some.device) for part in (from_first(solve) if shared else solve()))
        self.values = values.double().clamp(min=0).flip(0)
        wide_rotation = rotation.flip(1).double()
        self.rotation = wide_rotation.to(some.dtype)
        if self.first is not None:
            self.first.cross = wide_rotation.T @ self.first.cross
        self._offset = self.mean @ self.rotation
        rest = -(shift.to(near.dtype) @ self.rotation)
        self._turned = rotated(self.rotation) if rotated else lambda rows: features(rows) @ self.rotation
        if self._kept is not None:
            for rows in self._slices():
                part = self._kept[self._local(rows)]
                torch.add(product(part, self.rotation), rest, out=part)

    def _first_pass(self, near: Tensor, targets: Callable[[slice], Tensor] | None) -> tuple[Tensor, Tensor]:
        """Sum features less a point near their mean, and their second moment; take the moments of the targets."""
        width = len(near)
        total = near.new_zeros(width, dtype=torch.float64)
        moment = total.new_zeros(width, width)
        if targets is not None:  # the centre is the same on each process
            self.first = Moments(width, targets(slice(0, min(self.n, self.step))).to(near).mean(0))
        for rows in self._slices():
            part, w = self._features(rows) - near, self.weights(rows)
            total += column_sums(part, w)
            moment += second_moment(part, w)
            if self._kept is not None:
                self._kept[self._local(rows)] = part
            if targets is not None and self.first is not None:
                self.first.add(part, targets(rows).to(part), w)
        if self._shared:
            sum_over_processes(total)
            sum_over_processes(moment)
        if self.first is not None:
            self.first.finish(shared=self._shared)
        return total, moment

    def weights(self, rows: slice | Tensor) -> Tensor | None:
        """Give the weights of some rows, ``[b]``; ``None`` where all count as one."""
        return None if self._weights is None else self._weights[rows]

    def _slices(self) -> Iterator[slice]:
        for start in range(self._own.start, self._own.stop, self.step):
            yield slice(start, min(start + self.step, self._own.stop))

    def _local(self, rows: slice) -> slice:
        return slice(rows.start - self._own.start, rows.stop - self._own.start)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Go through the rows once; where they are shared, through those of this process."""
        for rows in self._slices():
            yield rows, self.at(rows) if self._kept is None else self._kept[self._local(rows)]

    def at(self, rows: slice | Tensor) -> Tensor:
        """Give Z of some rows, ``[b, r]``: from memory, or computed anew."""
        if self._kept is not None and not self._shared:
            return self._kept[rows]
        z: Tensor = self._turned(rows) - self._offset
        return z

    @property
    def scale(self) -> float:
        """Mean diagonal of the centred kernel: ridges are told in this unit."""
        return float(self.values.sum()) / self.total

    def learn(self, *targets: Tensor) -> list[Moments]:
        """Take the moments of targets; one pass."""
        found = [Moments(len(self.values), q.mean(0)) for q in targets]
        for rows, z in self.blocks():
            for one, q in zip(found, targets, strict=True):
                one.add(z, q[rows], self.weights(rows))
        return [one.finish(shared=self._shared) for one in found]

    def solve(self, moments: Moments, ridge: float) -> Regression:
        """Fit targets of these moments."""
        return Regression(moments.cross / (self.values + ridge)[:, None], moments.mean, ridge)

    def leverages(self, rows: slice | Tensor, z: Tensor, ridges: Sequence[float]) -> dict[float, Tensor]:
        """Compute the diagonal of the hat matrix, for each ridge ``[b, 1]``; 2 b r FLOPs for each different one."""
        different = sorted(set(ridges))
        shrink = 1 / (self.values[:, None] + self.values.new_tensor(different))
        hats, w = product(z.square(), shrink.to(z.dtype)).add_(1 / self.total), self.weights(rows)
        hats = hats if w is None else hats * w[:, None]
        return {ridge: hats[:, i : i + 1] for i, ridge in enumerate(different)}

    def out_of_sample(self, targets: Sequence[Tensor], ridges: Sequence[float]) -> list[Tensor]:
        """Predict each row by the regression on all others, for several targets at once."""
        fits = [self.solve(one, ridge) for one, ridge in zip(self.learn(*targets), ridges, strict=True)]
        found = [torch.empty_like(one) for one in targets]
        for rows, z in self.blocks():
            hats = self.leverages(rows, z, ridges)
            for out, q, fit in zip(found, targets, fits, strict=True):
                out[rows] = without_itself(fit(z), q[rows], hats[fit.ridge])
        return found

    def errors(self, targets: Tensor, ridges: Tensor, most: int = 4096) -> Tensor:
        """Compute the mean squared error of leaving one out, float64 ``[L]``; over ``most`` rows, evenly spread."""
        moments, k = self.learn(targets)[0], targets.shape[1]
        each = (moments.cross[:, None] / (self.values[:, None] + ridges.to(self.values))[..., None]).flatten(1)
        fits = Regression(each, moments.mean.repeat(len(ridges)), 0.0)  # of all ridges, side by side
        total, count, stride = torch.zeros(len(ridges), dtype=torch.float64), 0.0, -(-self.n // most)
        for rows, block in self.blocks():
            z, q, part = block[::stride], targets[rows][::stride], slice(rows.start, rows.stop, stride)
            hats, w = self.leverages(part, z, ridges.tolist()), self.weights(part)
            rest = 1 - torch.stack([hats[ridge] for ridge in ridges.tolist()], 1)
            residuals = q[:, None] - fits(z).view(len(z), -1, k)
            off = (residuals / rest.clamp(min=1e-6)).square().sum(2)
            total += (off if w is None else off * w[:, None]).sum(0, dtype=torch.float64).cpu()
            count += len(z) if w is None else float(w.sum())
        return total / count

    def coefficients(self, fit: Regression) -> tuple[Tensor, Tensor]:
        """Turn a regression on Z into weights ``[r, K]`` of the features as they came, and the offset ``[K]``."""
        weights = self.rotation.double() @ fit.weights
        return weights, fit.mean - self.mean.double() @ weights

    def halves(self, parts: Tensor) -> list[Fold]:
        """Split the rows: folds fitted on those of ``parts`` false, and on the others."""
        z = self._kept
        assert z is not None
        one, two = (~parts).nonzero().flatten(), parts.nonzero().flatten()
        a, b, v, w = z[one], z[two], self.weights(one), self.weights(two)
        gram_a = gram_b = None
        if max(len(one), len(two)) > z.shape[1]:  # more than columns
            gram_a = second_moment(a, v)
            gram_b = -gram_a
            gram_b.diagonal().add_(self.values)
        return [Fold(one, two, a, b, gram_a, v), Fold(two, one, b, a, gram_b, w)]
