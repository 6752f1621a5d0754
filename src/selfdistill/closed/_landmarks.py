"""Landmarks: the rows that a kernel is made from, and features of all others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from selfdistill.networks import kernel_rows

__all__ = ["Landmarks", "choose_landmarks"]


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

    def to(self, device: torch.device) -> Landmarks:
        """Move both matrices.

        Args:
            device: Where to.

        Returns:
            Itself.
        """
        self.rows, self.whiten = self.rows.to(device), self.whiten.to(device)
        return self

    def rotated(self, rotation: Tensor) -> Callable[[Tensor], Tensor]:
        """Give features times a matrix in one product.

        Args:
            rotation: ``[r, s]``.

        Returns:
            From unit rows ``[b, d]`` to ``[b, s]``. Cost: that of the features alone.
        """
        both = self.whiten @ rotation
        return lambda rows: kernel_rows(self.kernel, rows, self.rows) @ both
