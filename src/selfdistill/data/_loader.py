"""Batches of a set that lies on the device as one tensor, or on disk, shuffled and augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.errors import SettingError
from selfdistill._core.rng import torch_generator


class Batch(NamedTuple):
    """One batch. The index is never optional: per-sample targets live by it."""

    inputs: Tensor  # ``[b, ...]``
    # position of each example in the training set, int64 ``[b]``; hides tuple.index, which no batch needs
    index: Tensor  # type: ignore[assignment]
    labels: Tensor  # given (possibly wrong), int64 ``[b]``
    weight: Tensor | None  # 1 for a real example, 0 for one that only pads a process's share; ``None``: all are real
    total: int  # real examples of this step over all processes


_TOGETHER = 2**20  # bytes of inputs that are gathered at once


def eval_batches(
    inputs: Tensor, labels: Tensor | None = None, batch_size: int = 1024, *, device: torch.device | str | None = None
) -> Iterator[Batch]:
    """Cut a set in order, the index that of the set; the last batch holds what is left. No labels: all -1."""
    if batch_size < 1:
        raise SettingError(f"batch_size is {batch_size}, but must be at least 1", "Pass a larger batch_size.")
    place = inputs.device if device is None else torch.device(device)
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size].to(place)
        index = torch.arange(start, start + len(part), device=place)
        given = torch.full_like(index, -1) if labels is None else labels[start : start + batch_size].to(place)
        yield Batch(part, index, given, None, len(part))


class TensorLoader:
    """Shuffled batches of a set that stays on the device."""

    # The permutation of epoch ``e`` depends on ``seed`` and ``e`` alone: not on the device, not on the number of
    # processes, and there is no state to save. It is cut into global batches of ``batch_size``; a leftover smaller than
    # ``2 * world`` joins the batch before it, because batch normalisation needs two examples per process. Process
    # ``rank`` takes ``batch[rank::world]``. Where that leaves some processes one short, they repeat the first example
    # of the batch with weight 0, so that all take equally many. ``only`` are positions to draw, int64 ``[m]``: the
    # others are held out, and the batches' ``index`` stays that of the whole set.

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
        only: Tensor | None = None,
    ) -> None:
        if batch_size < 1:
            raise SettingError(f"batch_size is {batch_size}, but must be at least 1", "Pass a larger batch_size.")
        if not 0 <= rank < world:
            raise SettingError(f"rank is {rank} of {world} processes", "Pass 0 <= rank < world.")
        if len(inputs) != len(labels) or not len(labels):
            raise SettingError(
                f"{len(inputs)} inputs and {len(labels)} labels", "Pass as many labels as inputs, at least one."
            )
        self.inputs = inputs.to(device)
        self.labels = labels.to(device)
        self.only = None if only is None else only.to(device)
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world

    @property
    def drawn(self) -> int:
        """Examples per epoch."""
        return len(self.labels) if self.only is None else len(self.only)

    def _cuts(self) -> list[int]:
        n = self.drawn
        cuts = [*range(0, n, self.batch_size), n]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] < min(2 * self.world, self.batch_size):
            del cuts[-2]
        return cuts

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self._cuts()) - 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's part of every batch of a permutation, from a step on."""
        # ``weight`` is ``None`` where no process is padded in the step.
        n, device = self.drawn, self.labels.device
        order = torch.randperm(n, generator=torch_generator(self.seed, "shuffle", epoch))
        order = order.to(device) if self.only is None else self.only[order.to(device)]
        cuts = self._cuts()
        steps = list(pairwise(cuts))[start:]
        row = self.inputs[0].numel() * self.inputs.element_size()
        together = max(_TOGETHER * self.world // max(row * self.batch_size, 1), 1)  # each gathering costs its call
        for some in (steps[i : i + together] for i in range(0, len(steps), together)):
            parts = [self._share(order[first:last]) for first, last in some]
            index = parts[0][0] if len(parts) == 1 else torch.cat([part for part, _ in parts])
            # Half the time of self.inputs[index], and the rows are scattered over memory
            inputs, labels = self.inputs.index_select(0, index), self.labels.index_select(0, index)
            sizes = [len(part) for part, _ in parts]
            for (part, weight), (first, last), x, y in zip(
                parts, some, torch.split(inputs, sizes), torch.split(labels, sizes), strict=True
            ):
                yield Batch(x, part, y, weight, last - first)

    def _share(self, whole: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cut this process's part out of a batch's positions, and weigh what pads it."""
        if self.world == 1:
            return whole, None
        index, weight = whole[self.rank :: self.world], None
        if len(whole) % self.world:
            size = -(-len(whole) // self.world)
            short = size - len(index)
            weight = torch.ones(size, device=whole.device)
            weight[size - short :] = 0.0
            index = torch.cat([index, whole[:1].expand(short)])
        return index, weight


def _reflect(place: Tensor, size: int) -> Tensor:
    """Mirror positions beyond the border at the first and last pixel."""
    place = place.abs()
    return (size - 1) - ((size - 1) - place).abs()


@dataclass(frozen=True)
class Augment:
    """Random shift, mirror image and blotted square, drawn for each image."""

    # Cutout: DeVries and Taylor 2017, arXiv:1708.04552. The image is moved by up to ``crop`` pixels in each direction,
    # its border filled by reflection (as by padding and cropping); mirrored left to right with probability 1/2 if
    # ``flip``; and a square of side ``cutout`` around a random pixel, cut at the border, is set to ``fill``, the value
    # of each channel; ``()``: 0.

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    fill: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse sizes below 0."""
        if self.crop < 0 or self.cutout < 0:
            raise SettingError(f"crop is {self.crop} and cutout {self.cutout} pixels", "Pass sizes of 0 or more.")

    def draw(self, count: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw shifts, flips and squares for images of ``(h, w)``."""
        # int64 ``[count, 5]``: shift down, shift right, flip (0 or 1), row and column of the square's centre.
        h, w = shape
        uniform = torch.rand(count, 5, generator=generator, device=generator.device, dtype=torch.float64)
        span = torch.tensor([2 * self.crop + 1, 2 * self.crop + 1, 2, h, w], dtype=torch.float64, device=uniform.device)
        drawn = (uniform * span).long()
        drawn[:, :2] -= self.crop
        return drawn

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change images ``[b, c, h, w]`` of any type as drawn; the shift must be smaller than the image."""
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
        """Draw and apply; processes that share the generator's seed change each image as one process would."""
        # The generator lies on the CPU, for the same draws on every device. Image j is image ``rank + j * world`` of
        # the step; the step has ``total`` images, ``b * world`` if that is ``None``.
        b = len(images)
        drawn = self.draw(b * world if total is None else total, images.shape[2:], generator)[rank::world]
        if len(drawn) < b:  # padding repeats an example with weight 0: any draw will do
            drawn = torch.cat([drawn, drawn.new_zeros(b - len(drawn), 5)])
        return self.apply(images, drawn)


def augment_for(spec: str, input_shape: Sequence[int], fill: Sequence[float] = ()) -> Augment | None:
    """Read a setting such as ``"flip,crop:2,cutout:8"``, ``"auto"`` or ``"none"``."""
    # "auto" is nothing for vectors, for images below 16 pixels and for grey images (digits and letters must not be
    # mirrored, and in short trainings shifts cost more than they bring); mirroring and a shift of 1/8 of the side for
    # colour.
    spec, fill = spec.strip().lower(), tuple(fill)
    if spec in {"none", ""} or (spec == "auto" and len(input_shape) != 3):
        return None
    if len(input_shape) != 3:
        problem = f"augment is {spec!r}, but the inputs are no images"
        raise SettingError(problem, Advice("Pass none", "leave {--augment} out."), param="augment")
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
