"""The weights of the epoch that a method chose."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn


@final
class BestWeights:
    """A copy of a network's state, as of some epoch; goes into checkpoints with the rest."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.value: dict[str, Tensor] = {}

    def take(self, model: nn.Module, epoch: int) -> None:
        """Copy the state."""
        self.epoch = epoch
        self.value = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def put_back(self, model: nn.Module) -> None:
        """Give the network the state that was kept."""
        model.load_state_dict(self.value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"epoch": self.epoch, "value": self.value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state back."""
        self.epoch, self.value = state_dict["epoch"], state_dict["value"]
