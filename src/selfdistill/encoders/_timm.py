"""Encoders of photos of `timm`: a name of its own, a folder, or a name on the Hugging Face hub."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError, one_line
from selfdistill.encoders._encoder import fingerprint_of
from selfdistill.encoders._hub import fetching, only_here
from selfdistill.encoders._modules import bytes_of

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_FOLDER = "local-dir"
_SCHEMES = (f"{_FOLDER}:", "hf-hub:")
_WAY = f"timm:{_FOLDER}:"


@final
class OfTimm:
    """The features that a network's head would take; photos are resized, cropped and scaled as `timm` evaluates it."""

    kind = "photos"

    def __init__(self, name: str, network: nn.Module, config: Mapping[str, Any]) -> None:
        from PIL.Image import Resampling

        self.name, self._network = f"timm:{name}", network
        self._size = height, width = int(config["input_size"][1]), int(config["input_size"][2])
        self._scaled = math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])
        self._mode, self._filter = str(config["crop_mode"]), Resampling[str(config["interpolation"]).upper()]
        mean, std = (tuple(map(float, config[part])) for part in ("mean", "std"))
        self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
        self._fill = tuple(round(255 * one) for one in mean) if self._mode == "border" else (0, 0, 0)
        self.side = max(self._scaled)
        self.dimension = self.encode([torch.zeros(3, height, width)]).shape[1]
        look = f"{self._filter.name} to {self._scaled}, {self._mode} {self._size}, mean {mean}, deviation {std}"
        self.fingerprint = fingerprint_of([*bytes_of(network), look])

    def prepare(self, example: Any) -> Tensor:
        """Resize, crop and scale as for evaluation; float32 ``[3, h, w]``."""
        from PIL import Image

        (height, width), resized = self._size, example.resize(self._resized(*example.size), self._filter)
        shown = Image.new("RGB", (width, height), self._fill)
        shown.paste(resized, (_start(resized.width, width), _start(resized.height, height)))
        pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1).float().div_(255)
        return pixels.sub_(self._mean).div_(self._std).contiguous()

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the whole photo, before it is cropped."""
        high, wide = self._scaled
        if self._mode == "squash":
            return wide, high
        if self._mode == "border":  # the longest side fits
            ratio = max(height / high, width / wide)
            return round(width / ratio), round(height / ratio)
        return (wide, int(high * height / width)) if width <= height else (int(wide * width / height), high)

    def encode(self, prepared: Sequence[Tensor]) -> np.ndarray:
        """Compute features."""
        with torch.inference_mode():
            found = self._network(torch.stack(list(prepared))).float()
        return np.asarray((found.mean((2, 3)) if found.ndim == 4 else found).numpy())

    def cut(self, examples: Sequence[Any]) -> int:
        """Photos are never cut."""
        return 0


def _start(length: int, shown: int) -> int:
    """Where a side begins in what is shown of it, rounded as torchvision does."""
    return (shown - length) // 2 if length < shown else -round((length - shown) / 2)


def load(rest: str, fetch: bool) -> OfTimm:
    """Load a network; the weights of the hub are taken as safetensors alone, those of a folder as data alone."""
    timm = _library()
    scheme, _, where = rest.rpartition(":") if rest.startswith(_SCHEMES) else ("", "", rest)
    if scheme == _FOLDER and not (Path(where) / _CONFIG).is_file():
        raise DataError(f"there is no {Path(where) / _CONFIG}", f"Give {_WAY} a folder that timm has saved.")
    source = {"model_name": rest} if scheme == _FOLDER else _on_hub(timm, scheme, where, fetch)
    with fetching(where, scheme == _FOLDER, _WAY):
        network = timm.create_model(pretrained=True, num_classes=0, **source).requires_grad_(False).eval()
    return OfTimm(rest, network, timm.data.resolve_model_data_config(network))


def _on_hub(timm: Any, scheme: str, where: str, fetch: bool) -> dict[str, Any]:
    """Have the files of a network here, and give what builds it of them; `timm` itself would ask the hub again."""
    known = timm.models.get_pretrained_cfg(where, allow_unregistered=True)
    repository = where if scheme else getattr(known, "hf_hub_id", None)
    if not repository:
        raise SettingError(
            f"timm has no weights of {where!r} on the Hugging Face hub",
            "Choose one of timm.list_models(pretrained=True).",
            param="encoder",
        )
    with fetching(repository, False, _WAY):
        from huggingface_hub import hf_hub_download

        here = only_here(repository, fetch)
        weights = Path(hf_hub_download(repository, _WEIGHTS, local_files_only=here))
        if not scheme:
            return {"model_name": where, "pretrained_cfg_overlay": {"file": str(weights), "custom_load": False}}
        return {"model_name": f"{_FOLDER}:{Path(hf_hub_download(repository, _CONFIG, local_files_only=here)).parent}"}


def _library() -> Any:
    """Give `timm`, or say why it cannot be had: it imports torchvision, which fits one version of torch alone."""
    logging.getLogger("timm").setLevel(logging.ERROR)  # it tells which weights it leaves out
    try:
        return importlib.import_module("timm")
    except Exception as error:  # torchvision's own, where its operators are of another torch
        if isinstance(error, ModuleNotFoundError) and error.name == "timm":
            raise SettingError("networks of timm need timm", "pip install timm.", param="encoder") from None
        way = "Install the torchvision that was built for torch {version}"
        raise SettingError(
            f"timm cannot be imported: {one_line(error)}",
            Advice(way, "choose another {--encoder}.", version=torch.__version__),
            param="encoder",
        ) from error
