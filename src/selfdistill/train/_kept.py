"""The weights of the epoch that a method chose, and the examples it chose by."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.rng import torch_generator

__all__ = ["KeptWeights", "held_out"]


@final
class KeptWeights:
    """A copy of a network's state, as of some epoch; goes into checkpoints with the rest.

    Memory: that of the network, once an epoch was kept.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.value: dict[str, Tensor] = {}

    def take(self, model: nn.Module, epoch: int) -> None:
        """Copy the state.

        Args:
            model: The network.
            epoch: Epochs done.
        """
        self.epoch = epoch
        self.value = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def put_back(self, model: nn.Module) -> None:
        """Give the network the state that was kept.

        Args:
            model: The network.
        """
        model.load_state_dict(self.value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"epoch": self.epoch, "value": self.value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state back."""
        self.epoch, self.value = state_dict["epoch"], state_dict["value"]


def held_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor | None, Tensor]:
    """Draw the examples that are kept from training: the same share of each class, rounded down.

    Args:
        labels: Given labels, int64 ``[n]``.
        share: In [0, 1).
        seed: Seed of the run.

    Returns:
        Positions to train on, rising, or ``None`` for all; and positions held out, rising.

    Example:
        >>> drawn, held = held_out(torch.tensor([0, 0, 1, 1]), 0.5, seed=0)
        >>> len(drawn), sorted(torch.tensor([0, 0, 1, 1])[held].tolist())
        (2, [0, 1])
    """
    if not share:
        return None, torch.empty(0, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch_generator(seed, "held out"))
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = order[labels[order] == label]
        mask[members[: int(share * len(members))]] = True
    return (~mask).nonzero()[:, 0], mask.nonzero()[:, 0]
