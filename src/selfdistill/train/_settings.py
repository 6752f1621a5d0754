"""What settings mean for given data and this machine: the network, its augmentation, the device."""

from __future__ import annotations

import torch

from selfdistill._core.advice import Advice
from selfdistill._core.errors import ResourceError, SettingError
from selfdistill._core.settings import ResolvedSettings
from selfdistill.networks._build import resolve

_SMALL = 5000  # below, a narrow network for tables; docs/decisions/0005


def choose_network(network: str, examples: int, shape: tuple[int, ...], words: bool = False) -> str:
    """Choose the network that ``"auto"`` means: a narrow one for small tables, none hidden for words."""
    # Of words and nothing else see decision 18. The result names one network also for methods that train a pair.
    narrow = network == "auto" and len(shape) == 1 and examples < _SMALL
    if narrow and words:
        return "linear"
    return "mlp:128" if narrow else resolve(network, shape).removeprefix("2*")


def choose_augment(settings: ResolvedSettings, examples: int, shape: tuple[int, ...]) -> str:
    """Choose what augmentation ``"auto"`` means: none for a fully connected network, which shifts only harm."""
    if settings.augment != "auto":
        return settings.augment
    return "none" if choose_network(settings.network, examples, shape).startswith(("mlp", "linear")) else "auto"


def resolve_device(device: str) -> str:
    """Find the device that a name means, and check that it is available."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingError(f"device {device!r} is unknown", "Choose auto, cpu, cuda or mps.", param="device") from error
    cuda_missing = found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()
    mps_missing = found.type == "mps" and not torch.backends.mps.is_available()
    if found.type not in {"cpu", "cuda", "mps"} or cuda_missing or mps_missing:
        raise ResourceError(f"device {device!r} is not available", Advice("Choose {--device} auto or cpu."))
    return device
