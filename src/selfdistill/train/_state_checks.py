"""States that are put back are checked first: names, shapes, types, finite numbers, counters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from selfdistill._core.errors import RunError


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


_MOVES = {"lr", "_last_lr", "last_epoch", "_step_count", "_is_initial", "_get_lr_called_within_step"}
"""What in optimizer and schedule differs from one step to the next; the rest follows from the settings."""


def fitting(name: str, found: Any, part: Any, model: Any) -> dict[str, Any]:
    """Give the state of a part as that can take it, or refuse it before anything is changed."""
    wanted = part.state_dict()
    if isinstance(part, torch.optim.Optimizer):
        return _of_optimizer(name, found, part, wanted)
    if isinstance(part, torch.optim.lr_scheduler.LRScheduler):
        return _known(name, found, wanted)
    if isinstance(part, BestWeights):
        if not found["value"] and found["epoch"] is None:
            return dict(found)
        wanted = {"epoch": 0, "value": model}
    _compare(name, found, wanted)
    return dict(found)


def _of_optimizer(
    name: str, found: Mapping[str, Any], part: torch.optim.Optimizer, wanted: Mapping[str, Any]
) -> dict[str, Any]:
    groups = zip(found["param_groups"], wanted["param_groups"], strict=True)
    known = [_known(f"{name} group {i}", *pair) for i, pair in enumerate(groups)]
    parameters = [one for group in part.param_groups for one in group["params"]]
    if found["state"]:
        _compare(name, found["state"], {i: {"momentum_buffer": one} for i, one in enumerate(parameters)})
    return {"state": dict(found["state"]), "param_groups": known}


def _known(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Take the entries that are known; those that follow from the settings must be equal."""
    for key, value in wanted.items():
        if key in _MOVES and key in found:
            _compare(f"{name}.{key}", found[key], value)
        elif key in found and repr(found[key]) != repr(value):  # a tensor of one number would be equal
            raise ValueError(f"{name}.{key} is {found[key]!r:.40} instead of {value!r:.40}")
    return {key: found.get(key, value) for key, value in wanted.items()}


def _compare(name: str, found: Any, wanted: Any) -> None:
    """Refuse another form, and numbers that are not finite."""
    if isinstance(wanted, Tensor):
        if not isinstance(found, Tensor) or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"{name} is {_form(found)} instead of {_form(wanted)}")
        if found.is_floating_point() and not found.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        if name.endswith(".labels") and not torch.equal(found, wanted):  # they are given, and places of other numbers
            raise ValueError(f"{name} are not those of the data")
    elif isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            raise ValueError(f"{name} has other entries than {list(wanted)[:5]}")
        for key, value in wanted.items():
            _compare(f"{name}.{key}", found[key], value)
    elif isinstance(wanted, list | tuple):
        for one, value in zip(found, wanted, strict=True):
            _compare(name, one, value)
    elif type(found) is not type(wanted) or (isinstance(found, float) and not math.isfinite(found)):
        raise ValueError(f"{name} is {found!r:.40} instead of something like {wanted!r:.40}")


def _form(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.40}"


def check_position(found: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], epochs: int, steps: int) -> None:
    """Refuse counters that no run of so many epochs and steps has."""
    _compare(
        "position",
        {name: value for name, value in found.items() if name != "curves"},
        {"epoch": 0, "step": 0, "seconds": 0.0, "loss": torch.zeros(())},
    )
    epoch, step, curves, scheduled = found["epoch"], found["step"], found["curves"], states["schedule"]["last_epoch"]
    for name, state in states.items():
        counted = state.get("epoch")
        if counted is not None and not 0 <= int(counted) <= epoch:
            raise ValueError(f"epoch {int(counted)} of {name} in epoch {epoch}")
    if not (0 <= epoch <= epochs and 0 <= step <= steps and scheduled == epoch * steps + step):
        raise ValueError(f"epoch {epoch}, step {step} of {epochs} epochs of {steps} steps, {scheduled} scheduled")
    if not isinstance(curves, list) or len(curves) != epoch:
        raise ValueError(f"{len(curves)} curves of {epoch} epochs")
    for one in curves:
        _compare("curves", one, dict.fromkeys(curves[0], 0.0))


def check_finite(path: Path, weights: Mapping[str, object], again: str) -> None:
    """Refuse weights that are NaN or infinite."""
    for name, tensor in weights.items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            verb = "is" if bad == 1 else "are"
            raise RunError(
                f"{path} is damaged: {bad:,} of {tensor.numel():,} numbers of {name!r} {verb} not finite", again
            )


def check_types(weights: Mapping[str, object], network: nn.Module) -> None:
    """Refuse weights of other types than the network's: they would be cast in silence, or fail at the first input."""
    for name, wanted in network.state_dict().items():
        found = weights.get(name)
        if isinstance(found, torch.Tensor) and found.dtype != wanted.dtype:
            raise ValueError(f"{name!r} is {found.dtype} instead of {wanted.dtype}")
