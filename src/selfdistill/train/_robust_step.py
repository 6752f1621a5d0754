"""A step of robust targets: loss and prediction of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from selfdistill.losses._anchored import of_arrays, with_prediction
from selfdistill.targets import Posterior, Targets

_GRAIN = 2**15  # entries from which torch takes several threads


def in_arrays(targets: Targets[Any], index: Any, logits: Tensor, *, mean: bool) -> tuple[Tensor, np.ndarray] | None:
    """Compute a usual batch with NumPy; ``None`` of any other, be it right or wrong."""
    # Between the layers of a network the code of each small operation is gone from the caches: a call of torch then
    # takes some 30 µs, one of NumPy five. So few are made, and what is unusual is left to `in_torch` and its checks.
    if not (
        type(targets) is Posterior
        and type(logits) is type(index) is Tensor
        and logits.requires_grad
        and logits.is_cpu
        and index.is_cpu
        and logits.dtype is torch.float32
        and index.dtype is torch.int64
    ):
        return None
    scores, positions = logits.detach().numpy(), index.numpy()
    if scores.shape != (*positions.shape, targets.num_classes) or not 0 < scores.size < _GRAIN:
        return None
    state: Any = targets._buffers  # attributes of a module take longer
    try:
        if min(positions.tolist()) < 0:
            return None
        target, memory = state["target"].numpy().take(positions, 0), state["fast"].numpy().take(positions, 0)
    except IndexError:
        return None
    return of_arrays(logits, scores, target, memory, targets.fast_momentum, state["strength"].numpy(), mean=mean)


def in_torch(
    targets: Targets[Any], loss: Callable[..., Tensor], index: Tensor, logits: Tensor, *, mean: bool
) -> tuple[Tensor, Tensor]:
    """Compute any batch, on any device."""
    outputs = logits.detach().to(index.device)
    target = targets.read(index, outputs)
    if index.device != logits.device:
        target = tree_map_only(Tensor, lambda part: part.to(logits.device), target)
    if isinstance(targets, Posterior):  # its loss makes the softmax on the way
        values, p = with_prediction(logits, target)
        p = p.to(index.device, torch.float32)
    else:
        values, p = loss(logits, target), outputs.float().softmax(-1)
    return values.mean() if mean else values, p
