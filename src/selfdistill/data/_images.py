"""Images as arrays: one layout, and what the network needs to standardise them."""

from __future__ import annotations

import math
import warnings
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import as_numpy, check_finite
from selfdistill.data._limits import TRAIN_PIXEL_LIMIT
from selfdistill.data._preprocess import Preprocess
from selfdistill.data._stored import are_many

WHITES = {"whole": (255, 1023, 4095, 16383, 65535), "float": (1, 255, 65535)}
"""Values of white in images of more than 8 bits: 8, 10, 12, 14 or 16 bits; or shares, or the like of 8 or 16 bits."""
_LAYOUTS = ("hw", "chw", "hwc")
_CHANNELS = (1, 3, 4)
"""Numbers of channels that images usually have: grey, RGB, RGB with alpha or CMYK."""


def find_layout(shape: tuple[int, ...]) -> str:
    """Tell where the channels are."""
    # The channels are the second or the last axis: the one of 1, 3 or 4 where the other is not; else the one that
    # leaves square images where the other does not; else the smaller; a tie is channels first.
    if len(shape) == 3:
        return "hw"
    if len(shape) == 4:
        usual = [axis in _CHANNELS for axis in (shape[1], shape[3])]
        square = [shape[2] == shape[3], shape[1] == shape[2]]
        for first, last in (usual, square):
            if first != last:
                return "chw" if first else "hwc"
        return "hwc" if shape[3] < shape[1] else "chw"
    raise DataError(f"images have shape {shape}", "Pass images of shape [n, h, w], [n, h, w, c] or [n, c, h, w].")


def layout_doubt(shape: tuple[int, ...]) -> str:
    """Say where a shape can be read in two ways."""
    if len(shape) == 3:
        h, w = shape[1:]
        if min(h, w) > max(_CHANNELS):
            return ""
        return (
            f"inputs of {h} x {w} are read as grey images of {h} x {w} pixels, but may be {h} steps of {w} numbers: "
            f"reshape them to [n, {h * w}] to have them read as vectors."
        )
    _, a, b, c = shape
    usual = (a in _CHANNELS) != (c in _CHANNELS)
    agree = (b == c) != (a == b) and (b == c) == (a < c) and a != c
    if usual or agree:
        return ""
    first = f"{b} x {c} pixels with {a} channels first"
    last = f"{a} x {b} pixels with {c} channels last"
    if find_layout(shape) == "hwc":
        first, last = last, first
    return (
        f"inputs of {a} x {b} x {c} are read as {first}, but may be {last}: transpose them so that one axis of "
        "channels stands out, or reshape them to [n, d]."
    )


def channel_stats(images: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels."""
    means, stds = [], []
    for channel in images.unbind(1):
        parts = torch.split(channel, 4096)
        if images.dtype == torch.uint8:
            whole = torch.zeros(256, dtype=torch.int64)
            for part in torch.split(channel, max(1, 2**20 // max(1, channel[0].numel()))):
                whole += torch.bincount(part.flatten(), minlength=256)
            counts = whole.double()
            values = torch.arange(256, dtype=torch.float64)
            share = counts / counts.sum()
            mean = float(share @ values)
            std = float((share @ (values - mean) ** 2).sqrt())
        else:
            size = channel.numel()
            mean = math.fsum(float(part.double().sum()) for part in parts) / size
            std = (math.fsum(float((part.double() - mean).square().sum()) for part in parts) / size) ** 0.5
        means.append(mean)
        stds.append(std if std > 0 else 1.0)
    return means, stds


def _channels_first(array: np.ndarray, layout: str) -> np.ndarray:
    if layout == "hw":
        return array[:, None]
    return array if layout == "chw" else array.transpose(0, 3, 1, 2)


def is_mapped_pixels(raw: Any) -> bool:
    """Say whether pixels are bytes in a memory map, and many: inputs are then these bytes, where they lie on disk."""
    return isinstance(raw, np.memmap) and raw.dtype == np.uint8 and raw.ndim > 2 and are_many(raw.size)


def _fits_bytes(array: np.ndarray) -> bool:
    if array.dtype in {np.dtype(np.uint8), np.dtype(bool)} or not array.size:
        return True
    within = array.min() >= 0 and array.max() <= 255
    return bool(within and (array.dtype.kind != "f" or not (array % 1).any()))


@final
class ImagePreprocess(Preprocess, kind="image"):
    """Images ``[n, c, h, w]``, kept as uint8 (or float32): the network standardises them with `stats`.

    Args:
        shape: ``(c, h, w)``.
        dtype: "uint8" or "float32".
        layout: Axes of the raw array after the first: "hw", "chw" or "hwc".
        stats: See `channel_stats`.
        resized: Image files were resized to this size when they were read.
        whites: Image files were turned upright and laid on grey, and in those of more than 8 bits these values became
            255; ``None``: neither, as for arrays and in older runs.

    Example:
        >>> made = ImagePreprocess.fit(np.zeros((4, 8, 8, 3), np.uint8))
        >>> made.input_shape, made.mode, made.apply(np.ones((1, 8, 8, 3), np.uint8)).shape
        ((3, 8, 8), 'RGB', torch.Size([1, 3, 8, 8]))
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: str,
        layout: str,
        stats: tuple[list[float], list[float]],
        *,
        resized: bool = False,
        whites: dict[str, int] | None = None,
    ) -> None:
        self._shape, self._dtype, self._layout, self._stats = shape, dtype, layout, stats
        self.resized, self.whites = resized, whites

    @classmethod
    def fit(
        cls, raw: Any, *, layout: str | None = None, resized: bool = False, whites: dict[str, int] | None = None
    ) -> ImagePreprocess:
        array = as_numpy(raw)
        layout = layout or find_layout(array.shape)
        if 0 in array.shape:
            raise DataError(f"images have shape {array.shape}: there are no pixels", "Pass images with pixels.")
        whole = array.dtype.kind in "biu" and _fits_bytes(array)
        c, h, w = _channels_first(array, layout).shape[1:]
        made = cls((c, h, w), "uint8" if whole else "float32", layout, ([], []), resized=resized, whites=whites)
        made._stats = channel_stats(made.apply(raw))
        return made

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def mode(self) -> str:
        """Grey is "L", colour "RGB"; else the number of channels as text."""
        return {1: "L", 3: "RGB"}.get(self._shape[0], str(self._shape[0]))

    @property
    def stats(self) -> tuple[list[float], list[float]]:
        return self._stats

    def raw(self, inputs: Tensor) -> np.ndarray:
        array: np.ndarray = inputs.cpu().numpy()
        if self._layout == "hw":
            return array[:, 0]
        return array if self._layout == "chw" else array.transpose(0, 2, 3, 1)

    def apply(self, raw: Any) -> Tensor:
        array = as_numpy(raw)
        first = self._first(array)
        check_finite(array)
        if self._dtype == "uint8" and not _fits_bytes(first):
            raise DataError(
                f"images hold values from {first.min()} to {first.max()} ({first.dtype}), but training had whole "
                "numbers from 0 to 255",
                "Pass the values as they were in training.",
            )
        if is_mapped_pixels(raw) and self._dtype == "uint8":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a file that is mapped for reading cannot be written, and never is
                return torch.from_numpy(first)
        out = np.ascontiguousarray(first).astype(self._dtype)
        if self._dtype == "float32" and not np.isfinite(out).all():
            raise DataError("images hold values beyond the range of float32", "Rescale them.")
        return torch.from_numpy(out)

    def _first(self, array: np.ndarray) -> np.ndarray:
        """Channels first, by the layout of training, else by any that gives the training shape."""
        for layout in (self._layout, *_LAYOUTS):
            if array.ndim == 1 + len(layout):
                first = _channels_first(array, layout)
                if first.shape[1:] == self._shape:
                    return first
        c, h, w = self._shape
        raise DataError(
            f"images have shape {' x '.join(map(str, array.shape[1:]))}, but training had {h} x {w}, {c} channel(s)",
            "Bring them to the size and mode of training.",
        )

    def facts(self) -> str:
        c, h, w = self._shape
        mode = {1: "grey images", 3: "RGB images"}.get(c, f"images with {c} channels")
        return f"{mode} of {h} x {w} pixels"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        mean, std = self._stats
        spec = {"kind": self.kind, "shape": list(self._shape), "dtype": self._dtype, "layout": self._layout}
        files = {} if self.whites is None else {"whites": self.whites}
        return spec | {"mean": mean, "std": std, "resized": self.resized} | files | self._paths(), {}

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> ImagePreprocess:
        c, h, w = (int(side) for side in spec["shape"])
        if spec["dtype"] not in {"uint8", "float32"} or spec["layout"] not in _LAYOUTS:
            raise KeyError(f"{spec['dtype']}, {spec['layout']}")
        if spec["resized"] and (h != w or h * w > TRAIN_PIXEL_LIMIT):  # new images are brought to this size
            raise ValueError(f"images resized to {h} x {w} pixels")
        stats = ([float(x) for x in spec["mean"]], [float(x) for x in spec["std"]])
        whites = dict(spec["whites"]) if "whites" in spec else None
        if any(white not in WHITES[kind] for kind, white in (whites or {}).items()):
            raise ValueError(f"white is {whites}")
        return cls((c, h, w), spec["dtype"], spec["layout"], stats, resized=bool(spec["resized"]), whites=whites)
