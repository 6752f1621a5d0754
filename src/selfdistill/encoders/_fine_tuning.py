"""Vision models of Hugging Face `transformers` with a new head, to be trained as a whole."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders._transformers import library, processor_of


class Sight(NamedTuple):
    """How a model wants its pixels."""

    side: int  # of the square, pixels
    mean: tuple[float, ...]  # of each channel, of 0 to 255
    std: tuple[float, ...]  # as above


@lru_cache(maxsize=4)
def sight_of(rest: str, *, fetch: bool = False) -> Sight:
    """Find how a model wants its pixels, by what its image processor makes of a black and of a white image."""
    from PIL import Image

    with library(rest, fetch) as (transformers, asked):
        config = transformers.AutoConfig.from_pretrained(rest, **asked)
        if type(config) not in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            raise SettingError(
                f"hf:{rest} is not a model that classifies images ({config.model_type})",
                Advice("Give its features to the closed form: {--encoder} hf:{rest}, without {--network}.", rest=rest),
                param="network",
            )
        processor = processor_of(transformers, rest, asked)
        black, white = (
            np.asarray(processor(Image.new("RGB", (64, 64), (grey,) * 3), return_tensors="np")["pixel_values"][0])
            for grey in (0, 255)
        )
    if black.ndim != 3 or black.shape[0] != 3 or black.shape[1] != black.shape[2]:
        raise DataError(f"hf:{rest} takes images of shape {list(black.shape)}", "Choose a model of square RGB images.")
    side, middle = black.shape[1], black.shape[1] // 2
    low, high = (one[:, middle, middle].astype(np.float64) for one in (black, white))
    return Sight(side, tuple(-255 * low / (high - low)), tuple(255 / (high - low)))


def pretrained(rest: str, classes: int) -> nn.Module:
    """Load the weights of a model that is on this machine below a new head, which is drawn from torch's generator."""
    with library(rest, fetch=False) as (transformers, asked):
        base, info = transformers.AutoModel.from_pretrained(
            rest, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **asked
        )
        network = of_config(base.config.to_dict(), classes)
        body: nn.Module = network.base_model  # type: ignore[assignment]  # a module
        state = base.state_dict()
        unfit = [
            name
            for name, tensor in body.state_dict().items()
            if name in info["missing_keys"] or name not in state or state[name].shape != tensor.shape
        ]
        if unfit:
            raise ValueError(f"it holds no weights for {unfit[0]}, and {len(unfit) - 1} others")
        body.load_state_dict(state, strict=False)
    return network


def of_config(config: Mapping[str, Any], classes: int) -> nn.Module:
    """Build an image classifier of a configuration, which is data only."""
    transformers: Any = importlib.import_module("transformers")
    made = transformers.AutoConfig.for_model(**_plain(config))
    made.num_labels = classes
    found: nn.Module = transformers.AutoModelForImageClassification.from_config(made, trust_remote_code=False)
    return found


_NOT_KEPT = {"id2label", "label2id", "num_labels", "architectures", "dtype", "torch_dtype"}
_COULD_FETCH = {"auto_map", "attn_implementation", "quantization_config", "use_pretrained_backbone"}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what says where a model lay, what its head was, and what could have code or weights be fetched."""
    return {
        name: _plain(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _NOT_KEPT | _COULD_FETCH and not name.startswith("_")
    }


def config_of(network: nn.Module) -> dict[str, Any]:
    """Give a network's configuration as plain values, as `of_config` takes them."""
    found: dict[str, Any] = network.config.to_dict()  # type: ignore[union-attr, operator]  # a model of transformers
    return _plain(found)
