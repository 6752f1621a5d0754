"""Encoders of photos from a module of yours or an ONNX file: squares of pixels, scaled as for ImageNet."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from selfdistill._core.errors import DataError, SettingError
from selfdistill.encoders._encoder import fingerprint_of

_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_SIDE = 224


@final
class OfPhotos:
    """A function of pixels ``[b, 3, side, side]``; of an output with places, their mean."""

    kind = "photos"

    def __init__(
        self, name: str, compute: Callable[[np.ndarray], np.ndarray], side: int, weights: Iterable[bytes | str]
    ) -> None:
        self.name, self._compute, self.side = name, compute, side
        self.dimension = self.encode([np.zeros((3, side, side), np.float32)]).shape[-1]
        self.fingerprint = fingerprint_of([*weights, f"bicubic to {side} pixels, mean {_MEAN}, deviation {_STD}"])

    def prepare(self, example: Any) -> np.ndarray:
        """Resize to a square, whole, and scale; float32 ``[3, side, side]``."""
        pixels = np.asarray(example.resize((self.side, self.side), 3, reducing_gap=3.0), np.float32)  # 3: bicubic
        return ((pixels / 255 - _MEAN) / _STD).transpose(2, 0, 1)

    def encode(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Compute features."""
        found = np.asarray(self._compute(np.stack(prepared)), np.float32)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def cut(self, examples: Sequence[Any]) -> int:
        """Photos are never cut."""
        return 0


def of_module(rest: str) -> OfPhotos:
    """Call ``FACTORY`` of ``MODULE``, which gives a `torch.nn.Module`; its attribute ``side``, if any, is the size."""
    where, _, factory = rest.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        network = getattr(importlib.import_module(where), factory)()
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"encoder torch:{rest}: {error}", "Name a module and a function in it.", param="encoder"
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(network, nn.Module):
        raise SettingError(
            f"encoder torch:{rest} returned a {type(network).__name__}",
            "Return a torch.nn.Module that takes photos.",
            param="encoder",
        )
    network.requires_grad_(False).eval()

    def compute(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = network(torch.from_numpy(pixels)).float().numpy()
        return found

    return OfPhotos(f"torch:{rest}", compute, int(getattr(network, "side", _SIDE)), bytes_of(network))


def bytes_of(network: nn.Module) -> Iterable[bytes | str]:
    """Give a network's structure and weights, for a digest."""
    yield str(network)
    for name, one in sorted(network.state_dict().items()):
        yield name
        yield one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def of_onnx(rest: str) -> OfPhotos:
    """Load an ONNX file with one input ``[b, 3, h, w]``; its first output is the features."""
    try:
        import onnxruntime
    except ImportError:
        raise SettingError("encoders in ONNX need onnxruntime", "pip install onnxruntime.") from None
    path = Path(rest)
    if not path.is_file():
        raise DataError(f"{rest} {'is no file' if path.exists() else 'does not exist'}", "Name an ONNX file.")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [given, *more] = session.get_inputs()
    if more or len(given.shape) != 4 or given.shape[1] != 3:
        raise DataError(
            f"{rest} takes {', '.join(f'{one.name} {one.shape}' for one in (given, *more))}",
            "Give a model of photos with one input of [b, 3, height, width].",
        )
    side = given.shape[2] if isinstance(given.shape[2], int) else _SIDE

    def compute(pixels: np.ndarray) -> np.ndarray:
        if given.shape[0] == 1:  # made for one photo at a time
            return np.concatenate([session.run(None, {given.name: pixels[i : i + 1]})[0] for i in range(len(pixels))])
        found: np.ndarray = session.run(None, {given.name: pixels})[0]
        return found

    return OfPhotos(f"onnx:{rest}", compute, side, [path.read_bytes()])
