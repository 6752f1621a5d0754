"""How large a network is and what it costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Size", "describe"]


class Size(NamedTuple):
    """Size of a network.

    Attributes:
        parameters: Trainable numbers.
        flops: Floating-point operations of one forward pass per example; a multiplication with an addition counts 2.
            Matrix products and convolutions only.
    """

    parameters: int
    flops: int


def describe(model: nn.Module, input_shape: tuple[int, ...]) -> Size:
    """Count parameters and forward FLOPs. Training costs about three times the forward FLOPs per example.

    Args:
        model: A network. Left in the mode (training or evaluation) it was in.
        input_shape: Shape of one example.

    Returns:
        Parameters and FLOPs per example.

    Example:
        >>> describe(nn.Linear(10, 3), (10,))
        Size(parameters=33, flops=60)
    """
    modes = {module: module.training for module in model.modules()}
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    first = next(model.parameters())
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    finally:
        for module, training in modes.items():
            module.training = training
    return Size(parameters, counter.get_total_flops())
