"""Encoders of Hugging Face `transformers`: a folder on this machine, or a name on the hub that the user gave."""

from __future__ import annotations

import importlib
import inspect
import logging
import ssl
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SelfdistillError, SettingError, one_line
from selfdistill.encoders._encoder import fingerprint_of
from selfdistill.encoders._modules import bytes_of

_PATIENCE = 5.0  # seconds


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
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells each attempt
    try:
        here = folder or not fetch or _is_here(rest)
        if not here:
            _check_hub()
        yield transformers, {"local_files_only": here, "trust_remote_code": False}
    except (OSError, ValueError, KeyError, ImportError) as error:
        if isinstance(error, SelfdistillError):
            raise
        where = f"the folder {rest}" if folder else f"{rest!r}, here or on the Hugging Face hub"
        raise DataError(
            f"no model can be loaded from {where}: {one_line(error, 160)}",
            "Fetch it where there is a network (hf download NAME --local-dir FOLDER), and name hf:FOLDER.",
        ) from error
    finally:
        transformers.logging.set_verbosity(before)


def _is_here(name: str) -> bool:
    """Say whether weights of the hub were fetched before."""
    from huggingface_hub import constants, try_to_load_from_cache

    files = ("model.safetensors", "model.safetensors.index.json")
    return constants.HF_HUB_OFFLINE or any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _check_hub() -> None:
    """Ask once whether the hub answers: its own client would try for half a minute, without a word."""
    from huggingface_hub import constants

    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE).close()
    except HTTPError:
        return  # it answers
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # the client may know other certificates
            raise OSError(f"{constants.ENDPOINT} does not answer ({one_line(reason)})") from error


def processor_of(transformers: Any, rest: str, asked: Mapping[str, Any]) -> Any:
    """Load a model's own image processor, the one that needs no torchvision."""
    return transformers.AutoImageProcessor.from_pretrained(rest, **_slow(transformers), **asked)


def _sees(network: Any) -> bool:
    return "pixel_values" in inspect.signature(network.forward).parameters


def _slow(transformers: Any) -> dict[str, Any]:
    """Ask for the processor that needs no torchvision."""
    return {"backend": "pil"} if int(transformers.__version__.split(".")[0]) >= 5 else {"use_fast": False}
