"""The settings of a run: what was asked for, and what the data made of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from selfdistill._core.errors import ResourceError, SettingError

__all__ = ["Settings", "resolve_device"]

_STEPS = 3000  # enough for one-cycle training of a small network; see docs/decisions


@dataclass(frozen=True)
class Settings:
    """Settings of a run. ``None`` and ``"auto"`` are filled in from the data by `resolve`.

    Attributes:
        method: Name of a method, see `methods`.
        network: A network specification, see `selfdistill.networks.build`.
        epochs: Passes over the data; by itself enough for about 3,000 steps, from 15 to 100.
        batch_size: Examples per step, over all processes; by itself about a twentieth of the data, from 16 to 128.
        lr: Peak learning rate of the one-cycle schedule.
        weight_decay: L2 penalty of SGD.
        momentum: Nesterov momentum of SGD.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"auto"`` (bf16 on CUDA, else fp32), ``"fp32"`` or ``"bf16"`` (autocast).
        augment: ``"auto"``, ``"none"`` or for instance ``"flip,crop:2,cutout:8"``; images only.
        seed: Seed of everything that is drawn.
        compile: Pass the network through ``torch.compile``.

    Example:
        >>> Settings(epochs=0).resolve(1000, "cpu")
        Traceback (most recent call last):
        selfdistill._core.errors.SettingError: epochs is 0, but must be at least 1. Leave it out to have it chosen.
    """

    method: str = "selfdistill"
    network: str = "auto"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    device: str = "auto"
    precision: str = "auto"
    augment: str = "auto"
    seed: int = 0
    compile: bool = False

    def resolve(self, examples: int, device: str) -> Settings:
        """Fill in what was left open, and check all.

        Args:
            examples: Number of training examples.
            device: The device that ``"auto"`` means, see `resolve_device`.

        Returns:
            Settings without ``None``; ``augment`` and ``network`` are left to the rooms that know them.

        Raises:
            SettingError: A value out of range.
        """
        for name, least in (("epochs", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(
                    f"{name} is {value}, but must be at least {least}", "Leave it out to have it chosen."
                )
        for name in ("lr", "weight_decay", "momentum"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (name == "lr" and value == 0):
                raise SettingError(f"{name} is {value}, but must be finite and above 0", "Leave it out.")
        if self.momentum >= 1:
            raise SettingError(f"momentum is {self.momentum}, but must be below 1", "Leave it out.")
        if self.precision not in {"auto", "fp32", "bf16"}:
            raise SettingError(f"precision is {self.precision!r}", "Choose auto, fp32 or bf16.")
        batch = self.batch_size or 2 ** round(math.log2(min(max(examples / 20, 16), 128)))
        epochs = self.epochs or min(max(math.ceil(_STEPS / math.ceil(examples / batch)), 15), 100)
        auto = "bf16" if device.startswith("cuda") else "fp32"
        precision = auto if self.precision == "auto" else self.precision
        return replace(self, batch_size=batch, epochs=epochs, precision=precision, device=device)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return asdict(self)


def resolve_device(device: str) -> str:
    """Find the device that a name means, and check that it is there.

    Args:
        device: ``"auto"`` takes CUDA where there is one, else the CPU.

    Returns:
        A device name for torch.

    Raises:
        SettingError: Not a device name.
        ResourceError: A device that is not there.

    Example:
        >>> resolve_device("cpu")
        'cpu'
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingError(f"device is {device!r}, which is no device", "Choose auto, cpu, cuda or mps.") from error
    cuda_missing = found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()
    mps_missing = found.type == "mps" and not torch.backends.mps.is_available()
    if found.type not in {"cpu", "cuda", "mps"} or cuda_missing or mps_missing:
        raise ResourceError(f"device {device!r} is not there", "Choose --device auto or cpu.")
    return device
