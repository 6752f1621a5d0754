"""What a network is fed: one tensor, several by position, or several by name; the first dimension counts examples."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError

__all__ = ["Inputs", "all_finite"]


@final
class Inputs:
    """Examples for a network, cut in chunks.

    Args:
        value: A tensor or array ``[n, ...]``; a tuple or list of them, passed by position; or a dict, passed by name.
        like: Chunks go to its device; those of floating point get its dtype.
        what: Name of the argument, for messages.

    Raises:
        DataError: No tensor, no example, different numbers of examples, or NaN and infinite values.

    Example:
        >>> inputs = Inputs(torch.zeros(5, 3), torch.zeros(()))
        >>> len(inputs), inputs.chunk(2, 4)[0][0].shape
        (5, torch.Size([2, 3]))
    """

    def __init__(self, value: Any, like: Tensor, what: str = "inputs") -> None:
        self.device, self._dtype = like.device, like.dtype
        named = value if isinstance(value, dict) else {}
        listed = () if named else value if isinstance(value, tuple | list) else (value,)
        self._args = [_tensor(v, f"{what}[{i}]" if len(listed) > 1 else what) for i, v in enumerate(listed)]
        self._kwargs = {key: _tensor(v, f"{what}[{key!r}]") for key, v in named.items()}
        sizes = {len(v) for v in self.tensors}
        if len(sizes) != 1:
            raise DataError(
                f"{what} hold {sorted(sizes) or 'no'} examples" + (", but one number is needed" if sizes else ""),
                "Give tensors with one row for each example.",
            )
        if not len(self):
            raise DataError(f"{what} hold no examples", "Give at least one.")

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors."""
        return [*self._args, *self._kwargs.values()]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def chunk(self, start: int, stop: int) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Give some examples as arguments of the network.

        Args:
            start: First example.
            stop: Example after the last.

        Returns:
            Positional and named arguments, on the device.
        """
        return (
            tuple(self._moved(v[start:stop]) for v in self._args),
            {key: self._moved(v[start:stop]) for key, v in self._kwargs.items()},
        )

    def as_fed(self) -> Tensor | None:
        """Give all examples where they are one tensor, and chunks are views of it; else ``None``."""
        value = self.tensors[0]
        alone = len(self.tensors) == 1 and value.is_contiguous() and value.is_floating_point()
        return value if alone and self._moved(value) is value else None

    def _moved(self, value: Tensor) -> Tensor:
        return value.to(self.device, self._dtype if value.is_floating_point() else None)


def _tensor(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor | np.ndarray):
        raise DataError(
            f"{what} is a {type(value).__name__}, but must be a tensor or an array", "Convert it with torch.as_tensor."
        )
    tensor = torch.as_tensor(value).detach()
    if tensor.ndim == 0:
        raise DataError(f"{what} is a single number", "Give one row for each example, [n, ...].")
    if tensor.is_floating_point() and not all_finite(tensor):
        rows = (~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).nonzero()[:, 0]
        raise DataError(
            f"{what} have NaN or infinite values in {len(rows)} of {len(tensor)} examples, first in {int(rows[0])}",
            "Leave those out or fill the values in.",
        )
    return tensor


def all_finite(value: Tensor) -> bool:
    """Say whether all numbers are finite: a finite sum says so in one pass without a copy.

    Args:
        value: Of floating point.

    Returns:
        Whether they are.

    Example:
        >>> all_finite(torch.ones(3)), all_finite(torch.tensor([1.0, torch.inf]))
        (True, False)
    """
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())
