"""Encoders of Hugging Face `transformers`: a folder on this machine, or a name on the hub that the user gave."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders._encoder import fingerprint_of
from selfdistill.encoders._hub import fetching, only_here
from selfdistill.encoders._modules import bytes_of


def _size(example: Any) -> int:
    return int(max(example.shape[-2:]))


@final
class OfPhotos:
    """A vision model: its image features, its class token, or its last convolution averaged."""

    kind = "photos"

    def __init__(self, name: str, network: Any, processor: Any) -> None:
        from PIL import Image

        self.name, self._network, self._processor = f"hf:{name}", network, processor
        shown = self.prepare(Image.new("RGB", (64, 64)))
        self.side = _size(shown)
        self.dimension = self.encode([shown]).shape[1]
        self.fingerprint = fingerprint_of([*bytes_of(network), processor.to_json_string()])

    def prepare(self, example: Any) -> Tensor:
        """Let the model's own image processor do it; float32 ``[3, h, w]``."""
        found: Tensor = torch.from_numpy(np.asarray(self._processor(example, return_tensors="np")["pixel_values"][0]))
        return found

    def encode(self, prepared: Sequence[Tensor]) -> np.ndarray:
        """Compute features."""
        pixels = torch.stack(list(prepared)).float()
        with torch.inference_mode():
            if hasattr(self._network, "get_image_features"):
                found = self._network.get_image_features(pixel_values=pixels)
                found = getattr(found, "pooler_output", found)
            else:
                found = self._network(pixel_values=pixels).last_hidden_state
                found = found.mean((2, 3)) if found.ndim == 4 else found[:, 0]
        return np.asarray(found.float().numpy())

    def cut(self, examples: Sequence[Any]) -> int:
        """Photos are never cut."""
        return 0


@final
class OfTexts:
    """A text model: its tokens averaged, to length 1."""

    kind, side = "texts", 0

    def __init__(self, name: str, network: Any, tokenizer: Any) -> None:
        self.name, self._network, self._tokenizer = f"hf:{name}", network, tokenizer
        self._most = min(int(tokenizer.model_max_length), int(getattr(network.config, "max_position_embeddings", 512)))
        self.dimension = int(network.config.hidden_size)
        vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        self.fingerprint = fingerprint_of(
            [*bytes_of(network), repr(vocabulary), f"{self._most} tokens, mean, length 1"]
        )

    def prepare(self, example: str) -> str:
        """Leave the text as it is."""
        return example

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        """Compute features."""
        read = self._tokenizer(
            list(prepared), padding=True, truncation=True, max_length=self._most, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._network(**read).last_hidden_state.float()
            kept = read["attention_mask"][..., None].float()
            found: np.ndarray = torch.nn.functional.normalize((hidden * kept).sum(1) / kept.sum(1).clamp(min=1)).numpy()
        return found

    def cut(self, examples: Sequence[Any]) -> int:
        """Count the texts of more tokens than the model reads."""
        read = self._tokenizer(list(examples), verbose=False)["input_ids"]
        return sum(len(one) > self._most for one in read)


def load(rest: str, fetch: bool) -> OfPhotos | OfTexts:
    """Load a model, without code of its own, from safetensors alone."""
    with library(rest, fetch) as (transformers, asked):
        network = transformers.AutoModel.from_pretrained(rest, use_safetensors=True, **asked)
        network.requires_grad_(False).eval()
        if _sees(network):
            return OfPhotos(rest, network, processor_of(transformers, rest, asked))
        return OfTexts(rest, network, transformers.AutoTokenizer.from_pretrained(rest, **asked))


@contextmanager
def library(rest: str, fetch: bool) -> Generator[tuple[Any, dict[str, Any]]]:
    """Give `transformers` and what each of its loaders is told; say in one line why a model cannot be had."""
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError:
        raise SettingError("models of Hugging Face need transformers", "pip install transformers.") from None
    folder = Path(rest).is_dir()
    if not folder and (rest.startswith((".", "/", "~")) or rest.count("/") > 1):  # no name on the hub
        raise DataError(f"there is no folder {rest}", "Give hf: a folder that holds a model, or its name on the hub.")
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with fetching(rest, folder, "hf:"):
            here = folder or only_here(rest, fetch)
            yield transformers, {"local_files_only": here, "trust_remote_code": False}
    finally:
        transformers.logging.set_verbosity(before)


def processor_of(transformers: Any, rest: str, asked: Mapping[str, Any]) -> Any:
    """Load a model's own image processor, the one that needs no torchvision."""
    return transformers.AutoImageProcessor.from_pretrained(rest, **_slow(transformers), **asked)


def _sees(network: Any) -> bool:
    return "pixel_values" in inspect.signature(network.forward).parameters


def _slow(transformers: Any) -> dict[str, Any]:
    """Ask for the processor that needs no torchvision."""
    return {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
