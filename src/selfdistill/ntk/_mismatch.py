"""When gradients count as wrong, and what is raised where a chunk's are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.ntk._network import differ

__all__ = ["Mismatch", "is_wrong", "refuse_coupled"]

_AGREE = {torch.float64: 1e-7}  # relative difference of two gradients of one example
_AGREE_SINGLE = 1e-3
_FLOOR = 1e-6  # relative to the largest gradient of the example


class Mismatch(Exception):  # noqa: N818  (caught by what plans the work, never shown)
    """Gradients of a chunk are not those of its examples alone."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = set(names)


def is_wrong(error: float, norm: float, scale: float, dtype: torch.dtype) -> bool:
    """Say whether a gradient is not the right one."""
    return not error <= _AGREE.get(dtype, _AGREE_SINGLE) * norm + _FLOOR * scale


def refuse_coupled(beside: Tensor, alone: Tensor, whole: Tensor) -> None:
    """Refuse networks in which an example's outputs are not its own."""
    if differ(beside, alone, whole):
        raise DataError(
            "an example's outputs depend on the others beside it, so it has no gradient of its own",
            "Call model.eval(), and use layers that treat examples one by one.",
        )
