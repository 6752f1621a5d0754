"""Crop, flip and cutout of a whole batch at once, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.errors import SettingError


def _reflect(place: Tensor, size: int) -> Tensor:
    """Mirror positions beyond the border at the first and last pixel."""
    place = place.abs()
    return (size - 1) - ((size - 1) - place).abs()


@dataclass(frozen=True)
class Augment:
    """Random shift, mirror image and blotted square, drawn for each image.

    The image is moved by up to ``crop`` pixels in each direction, its border filled by reflection (as by padding and
    cropping); mirrored left to right with probability 1/2 if ``flip``; and a square of side ``cutout`` around a random
    pixel, cut at the border, is set to ``fill``.

    Attributes:
        crop: Largest shift, pixels.
        flip: Whether to mirror.
        cutout: Side of the square, pixels; 0: none.
        fill: Value of the square in each channel, the mean of training for instance; ``()``: 0.

    References:
        DeVries and Taylor 2017, arXiv:1708.04552 (cutout).

    Example:
        >>> images = torch.arange(9).view(1, 1, 3, 3)
        >>> Augment(flip=True).apply(images, torch.tensor([[0, 0, 1, 0, 0]])).flatten(1).tolist()
        [[2, 1, 0, 5, 4, 3, 8, 7, 6]]
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    fill: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse sizes below 0.

        Raises:
            SettingError: A size is below 0.
        """
        if self.crop < 0 or self.cutout < 0:
            raise SettingError(f"crop is {self.crop} and cutout {self.cutout} pixels", "Pass sizes of 0 or more.")

    def draw(self, count: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw shifts, flips and squares.

        Args:
            count: Images.
            shape: Their ``(h, w)``.
            generator: Where the randomness comes from.

        Returns:
            int64 ``[count, 5]``: shift down, shift right, flip (0 or 1), row and column of the square's centre.
        """
        h, w = shape
        uniform = torch.rand(count, 5, generator=generator, device=generator.device, dtype=torch.float64)
        span = torch.tensor([2 * self.crop + 1, 2 * self.crop + 1, 2, h, w], dtype=torch.float64, device=uniform.device)
        drawn = (uniform * span).long()
        drawn[:, :2] -= self.crop
        return drawn

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change the images as drawn.

        Args:
            images: ``[b, c, h, w]``, any type.
            drawn: See `draw`.

        Returns:
            New images of the same shape, type and device.

        Raises:
            SettingError: The shift is as large as the image.
        """
        b, c, h, w = images.shape
        if self.crop >= min(h, w):
            raise SettingError(f"crop is {self.crop} pixels, but the images have {h} x {w}", "Pass a smaller crop.")
        drawn = drawn.to(images.device)
        rows, columns = torch.arange(h, device=images.device), torch.arange(w, device=images.device)
        out = images
        if self.crop or self.flip:
            place = _reflect(rows + drawn[:, :1], h)
            across = columns.expand(b, w)
            if self.flip:
                across = torch.where(drawn[:, 2:3] == 1, w - 1 - across, across)
            across = _reflect(across + drawn[:, 1:2], w)
            flat = (place[:, :, None] * w + across[:, None, :]).view(b, 1, h * w)
            out = images.reshape(b, c, h * w).gather(2, flat.expand(b, c, h * w)).view(b, c, h, w)
        if self.cutout:
            low = drawn[:, 3:] - self.cutout // 2
            inside_row = (rows >= low[:, :1]) & (rows < low[:, :1] + self.cutout)
            inside_column = (columns >= low[:, 1:]) & (columns < low[:, 1:] + self.cutout)
            square = (inside_row[:, :, None] & inside_column[:, None, :])[:, None]
            fill = torch.tensor(self.fill or (0.0,) * c, device=images.device)
            fill = (fill if images.is_floating_point() else fill.round()).to(images.dtype)
            out = torch.where(square, fill.view(1, c, 1, 1), out)
        return out

    def __call__(
        self, images: Tensor, generator: torch.Generator, *, rank: int = 0, world: int = 1, total: int | None = None
    ) -> Tensor:
        """Draw and apply; processes that share the generator's seed change each image as one process would.

        Args:
            images: This process's ``[b, c, h, w]``.
            generator: Where the randomness comes from, on the CPU for the same draws on every device.
            rank: This process.
            world: Number of processes; image ``j`` is image ``rank + j * world`` of the step.
            total: Images of the step over all processes; ``None``: ``b * world``.

        Returns:
            New images.
        """
        b = len(images)
        drawn = self.draw(b * world if total is None else total, images.shape[2:], generator)[rank::world]
        if len(drawn) < b:  # padding repeats an example with weight 0: any draw will do
            drawn = torch.cat([drawn, drawn.new_zeros(b - len(drawn), 5)])
        return self.apply(images, drawn)


def augment_for(spec: str, input_shape: Sequence[int], fill: Sequence[float] = ()) -> Augment | None:
    """Read a setting such as ``"flip,crop:2,cutout:8"``.

    ``"auto"``: nothing for vectors, for images below 16 pixels and for grey images (digits and letters must not be
    mirrored, and in short trainings shifts cost more than they bring); mirroring and a shift of 1/8 of the side for
    colour.

    Args:
        spec: "auto", "none", or a list of ``flip``, ``crop:PIXELS`` and ``cutout:PIXELS``.
        input_shape: Shape of one input.
        fill: See `Augment`.

    Returns:
        The augmentation; ``None`` for none.

    Raises:
        SettingError: The spec cannot be read, or does not fit the inputs.

    Example:
        >>> augment_for("auto", (3, 32, 32)), augment_for("auto", (1, 28, 28))
        (Augment(crop=4, flip=True, cutout=0, fill=()), None)
    """
    spec, fill = spec.strip().lower(), tuple(fill)
    if spec in {"none", ""} or (spec == "auto" and len(input_shape) != 3):
        return None
    if len(input_shape) != 3:
        raise SettingError(f"augment is {spec!r}, but the inputs are no images", "Pass augment='none'.")
    c, h, w = input_shape
    side = min(h, w)
    if spec == "auto":
        return Augment(round(side / 8), True, 0, fill) if c == 3 and side >= 16 else None
    crop, flip, cutout = 0, False, 0
    for part in spec.split(","):
        name, _, number = part.strip().partition(":")
        if name == "flip" and not number:
            flip = True
        elif name in {"crop", "cutout"} and number.isdecimal() and 0 < int(number) < side:
            crop, cutout = (int(number), cutout) if name == "crop" else (crop, int(number))
        else:
            raise SettingError(
                f"augment has {part.strip()!r}; pixels must be at least 1 and below the side, {side}",
                "Pass 'auto', 'none', or a list such as 'flip,crop:2,cutout:8'.",
            )
    return Augment(crop, flip, cutout, fill)
