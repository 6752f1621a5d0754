"""Numbers known up to an interval: what a spectrum's missing pairs leave open."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Interval"]


class Interval(NamedTuple):
    """Bounds of a number, or of each entry of a tensor; equal where nothing is open.

    Attributes:
        low: Lower bound.
        high: Upper bound.

    Example:
        >>> import torch
        >>> found = Interval(torch.tensor([0.25, 0.5]), torch.tensor([0.25, 1.0]))
        >>> found.middle.tolist(), found.listed()
        ([0.25, 0.75], [0.25, [0.5, 1.0]])
    """

    low: Tensor
    high: Tensor

    @classmethod
    def exact(cls, value: Tensor) -> Interval:
        """Take a known value.

        Args:
            value: The value.

        Returns:
            An interval of no width.
        """
        return cls(value, value)

    @property
    def middle(self) -> Tensor:
        """Mean of the bounds."""
        return (self.low + self.high) / 2

    @property
    def width(self) -> Tensor:
        """Distance of the bounds."""
        return self.high - self.low

    def listed(self, tolerance: float = 1e-9) -> Any:
        """Write as JSON takes it: a number where the bounds agree, else ``[low, high]``.

        Args:
            tolerance: Greatest distance at which bounds agree.

        Returns:
            One entry, or a list of them for a tensor of one dimension.
        """
        pairs = zip(self.low.reshape(-1).tolist(), self.high.reshape(-1).tolist(), strict=True)
        entries = [(a + b) / 2 if b - a <= tolerance else [a, b] for a, b in pairs]
        return entries if self.low.ndim else entries[0]
