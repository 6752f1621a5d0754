"""The packaged encoder of photos: EfficientNet-Lite0, its last convolution averaged over space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from selfdistill._core.files import digest
from selfdistill.encoders._encoder import check_hash, fingerprint_of, packaged_folder

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_SIDE = 96
_PREPARED = f"EfficientNet-Lite0, RGB minus 127 over 128, bicubic to {_SIDE} pixels, mean of the last convolution"


@final
class EfficientNetLite0:
    """1,280 numbers of a photo that was brought to 96 x 96 pixels, whole; weights of ImageNet, Apache-2.0."""

    kind, name, dimension, side = "photos", "photos", 1280, _SIDE

    def __init__(self, weights: Path) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        check_hash("EfficientNet-Lite0", digest(weights), _SHA256, "photos")
        self._network = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network.requires_grad_(False).eval()
        self.fingerprint = fingerprint_of([_SHA256, _PREPARED])

    def prepare(self, example: Any) -> Tensor:
        """Give float32 ``[3, 96, 96]``; larger photos are averaged down, smaller ones interpolated."""
        if max(example.size) > _SIDE:
            example = example.resize((_SIDE, _SIDE), 3, reducing_gap=3.0)  # 3: bicubic
        pixels = torch.from_numpy(np.array(example)).permute(2, 0, 1).float().sub_(127).div_(128)
        if pixels.shape[1:] == (_SIDE, _SIDE):
            return pixels.contiguous()
        return interpolate(pixels[None], size=(_SIDE, _SIDE), mode="bicubic", align_corners=False)[0]

    def encode(self, prepared: Sequence[Tensor]) -> np.ndarray:
        """Compute features."""
        with torch.inference_mode():
            found: np.ndarray = self._network.extract_features(torch.stack(list(prepared))).mean((2, 3)).numpy()
        return found

    def cut(self, examples: Sequence[Any]) -> int:
        """Photos are never cut."""
        return 0


def load() -> EfficientNetLite0:
    """Load the packaged weights."""
    return EfficientNetLite0(packaged_folder("photos") / "models" / "efficientnet-lite0-57934424.pth")
