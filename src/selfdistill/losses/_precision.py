"""The precision that losses compute in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_single"]


def at_least_single(logits: Tensor) -> Tensor:
    """Lift half precision to float32 and leave float32 and float64 as they are.

    Args:
        logits: Any floating-point tensor.

    Returns:
        The same values, float32 or float64.

    Example:
        >>> at_least_single(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
