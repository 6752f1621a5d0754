"""What of the Jacobian is wanted at once, what it will cost, and how far the work is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from selfdistill._core import dist
from selfdistill._core.errors import SettingError


class Item(NamedTuple):
    """A part of the parameters whose gradients are wanted at once."""

    name: str  # the parameter; for a layer kept as factors, its weight
    first: int  # first row, along the parameter's first dimension
    last: int  # row after the last


class LayerRecord(NamedTuple):
    """A layer whose inputs and gradients at its outputs are wanted, to make its weight's gradients from them later."""

    name: str  # the weight


class Piece(NamedTuple):
    """Gradients of one item for some examples, or what a kept layer's are made from."""

    # Factored: the layer's inputs, [m, i], with a column of ones for its bias. Of a LayerRecord: its inputs, [m, ...].
    # Else None.
    left: Tensor | None
    # Factored: gradients at the layer's outputs, [m, R, o]. Of a LayerRecord: the same, [m, R, ...]. Else of the
    # parameter, [m, R, p].
    right: Tensor
    fed: bool = False  # factored: left is a view of the examples themselves; it has no column of ones
    bias: bool = False  # with fed: whether the layer has a bias that counts

    @property
    def lent(self) -> bool:
        """Whether there is no room yet."""
        return not len(self.right)

    def take_input(self, x: Tensor) -> None:
        """Write down a layer's input ``[m, ...]``, unless it is a view of the examples."""
        assert self.left is not None
        if self.fed:
            return
        if x.shape == self.left.shape:
            self.left.copy_(x)
        else:  # a column for the bias beside it
            self.left[:, : x[0].numel()] = x.flatten(1)

    def take(self, x: Tensor, grads: Tensor) -> None:
        """Write down, or take over where there is no room, a layer's input and the gradients at its output."""
        assert self.left is not None
        if self.lent:
            self.left.set_(x)  # type: ignore[call-overload]  # torch's stubs do not know it
            self.right.set_(grads)  # type: ignore[call-overload]
            return
        self.take_input(x)
        self.right.copy_(grads.reshape(self.right.shape))

    def rows(self, start: int, stop: int) -> Piece:
        """Give some of the examples, as views."""
        left = None if self.left is None else self.left[start:stop]
        return Piece(left, self.right[start:stop], self.fed, self.bias)


@dataclass(frozen=True)
class Cost:
    """Forecast of one piece of work."""

    flops: float  # of matrix products and convolutions
    sweeps: float  # how often all examples go through the network, forward and backward
    bytes: float  # most memory at once, beside the network and the inputs

    def __str__(self) -> str:
        sweeps = "1 sweep" if round(self.sweeps) == 1 else f"{self.sweeps:.0f} sweeps"
        return f"{_si(self.flops)}FLOP, {sweeps}, {as_bytes(self.bytes)}"


@dataclass(frozen=True)
class Group:
    """Parameters that are done in one sweep."""

    items: tuple[Item, ...]  # whose gradients are made while the examples go through the network
    bytes: float  # held at the end of the sweep
    kept: tuple[LayerRecord, ...] = ()  # layers of which inputs and gradients at the outputs are kept instead
    slabs: tuple[Item, ...] = ()  # made from those afterwards, one at a time
    slab_bytes: float = 0.0  # held meanwhile, at most

    @property
    def everything(self) -> tuple[Item, ...]:
        """All items, those of the slabs too."""
        return (*self.items, *self.slabs)


@dataclass(frozen=True)
class LayerPlan:
    """How one layer is treated."""

    name: str  # the layer, or the parameter where no rule fits
    kind: str  # class of the layer
    how: str  # "factors", "slabs", "per-sample" (all examples of a chunk at once) or "one by one"
    parameters: int  # their number
    flops: float  # of the explicit kernel's product for it


@dataclass(frozen=True)
class Plan:
    """The forecast, printable."""

    output: str  # which kernel
    shape: tuple[int, int]  # rows and columns in examples
    layers: tuple[LayerPlan, ...]  # how each layer is treated
    matrix: Cost | None  # of the explicit kernel; ``None`` where it does not fit the memory
    product: Cost | None  # of one product with a block of ``block`` vectors; ``None`` where it does not fit
    block: int
    memory: int  # bytes allowed

    def __str__(self) -> str:
        n, m = self.shape
        total = sum(layer.parameters for layer in self.layers)
        lines = [
            f"{self.output} kernel of {n:,} x {m:,} examples, {total:,} parameters, memory {as_bytes(self.memory)}"
        ]
        name, kind = (
            max(len(v) for v in column) for column in zip(*((p.name, p.kind) for p in self.layers), strict=True)
        )
        lines += [
            f"  {p.name:<{name}}  {p.kind:<{kind}}  {p.how:<10}  {p.parameters:>12,}  {_si(p.flops)}FLOP"
            for p in self.layers
        ]
        lines.append(f"as a matrix: {self.matrix or 'does not fit'}")
        lines.append(f"times {self.block} vectors: {self.product or 'does not fit'}")
        return "\n".join(lines)


def parse_bytes(value: int | float | str) -> int:
    """Read an amount of memory."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?)(i?)[bB]?\s*", str(value))
    try:
        number = float(match.group(1)) if match else float("nan")
    except ValueError:
        number = float("nan")
    if not match or not number > 0:
        raise SettingError(f"memory is {value!r}", "Give bytes, or an amount such as '2GiB' or '500MB'.")
    power = " kmgt".index((match.group(2) or " ").lower())
    return int(number * (1024 if match.group(3) else 1000) ** power)


def as_bytes(value: float) -> str:
    """Write an amount of memory."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000 or unit == "GiB":
            return f"{value:,.1f} {unit}" if unit != "B" else f"{value:.0f} B"
        value /= 1024
    return ""


def _si(value: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 1000 or unit == "P":
            return f"{value:.3g} {unit}"
        value /= 1000
    return ""


@contextmanager
def progress_bar(forecast: str, examples: float, wanted: bool | None) -> Generator[Callable[[int], None]]:
    """Show a forecast and a bar on stderr."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()) or dist.rank() > 0:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(forecast)
    if not examples:
        yield lambda done: None
        return
    columns = (TextColumn("  {task.percentage:>3.0f} %"), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=examples)
        yield lambda done: progress.advance(task, done)
