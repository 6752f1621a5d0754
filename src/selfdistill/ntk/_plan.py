"""What a kernel will cost, layer by layer, before any of it is paid; and how to cut it to fit the memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from selfdistill._core import dist
from selfdistill._core.errors import SettingError
from selfdistill.ntk._directions import Directions
from selfdistill.ntk._jacobian import Item
from selfdistill.ntk._structure import Structure

__all__ = ["Cost", "Group", "LayerPlan", "Plan", "Planner", "block_rows", "parse_bytes"]

_CHUNK = 64  # examples at once, at least, where the memory allows: enough for the speed of matrix products
_MOST = 512  # examples at once, at most
_CHUNK_BYTES = 2**21  # more than _CHUNK examples only where they take no more than this, on a CPU
_BLOCK_ROWS = 128  # at least
_BLOCKS = 8  # a symmetric product is done in this many block rows, upper half only


@dataclass(frozen=True)
class Cost:
    """Forecast of one piece of work.

    Attributes:
        flops: Floating-point operations of matrix products and convolutions.
        sweeps: How often all examples go through the network, forward and backward.
        bytes: Most memory at once, beside the network and the inputs.
    """

    flops: float
    sweeps: float
    bytes: float

    def __str__(self) -> str:
        return f"{_si(self.flops)}FLOP, {self.sweeps:.0f} sweeps, {_bytes(self.bytes)}"


@dataclass(frozen=True)
class Group:
    """Parameters that are done in one sweep.

    Attributes:
        items: Which.
        bytes: Kept for them meanwhile.
    """

    items: tuple[Item, ...]
    bytes: float


@dataclass(frozen=True)
class LayerPlan:
    """How one layer is treated.

    Attributes:
        name: The layer, or the parameter where no rule fits.
        kind: Class of the layer.
        how: ``factors``, ``slabs`` or ``per-sample``.
        parameters: Their number.
        flops: Of the explicit kernel's product for it.
    """

    name: str
    kind: str
    how: str
    parameters: int
    flops: float


@dataclass(frozen=True)
class Plan:
    """The forecast, printable.

    Attributes:
        output: Which kernel.
        shape: Rows and columns in examples.
        layers: How each layer is treated.
        matrix: Cost of the explicit kernel; ``None`` where it does not fit the memory.
        product: Cost of one product with a block of ``block`` vectors; ``None`` where it does not fit.
        block: Vectors of that block.
        memory: Bytes allowed.
    """

    output: str
    shape: tuple[int, int]
    layers: tuple[LayerPlan, ...]
    matrix: Cost | None
    product: Cost | None
    block: int
    memory: int

    def __str__(self) -> str:
        n, m = self.shape
        total = sum(layer.parameters for layer in self.layers)
        lines = [f"{self.output} kernel of {n:,} x {m:,} examples, {total:,} parameters, memory {_bytes(self.memory)}"]
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


class Planner:
    """Cuts parameters into groups that fit the memory, and counts.

    Args:
        structure: How the network is laid out.
        directions: Which outputs are looked at.
        rows: Examples of the rows.
        columns: Examples of the columns.
        memory: Bytes in all, beside the network and the inputs.
        symmetric: Whether rows and columns are the same examples.
        share: Examples of the rows that this process holds, where they are spread over several.
        overhead: Bytes for each example of a chunk while it is differentiated, beside its gradients; and for a chunk.
    """

    def __init__(
        self,
        structure: Structure,
        directions: Directions,
        rows: int,
        columns: int,
        memory: int,
        *,
        symmetric: bool,
        share: int,
        overhead: tuple[float, float],
    ) -> None:
        self.structure, self.directions, self.symmetric = structure, directions, symmetric
        self.rows, self.columns, self.memory, self.share = rows, columns, memory, share
        self._each_example, self._each_chunk = overhead
        self.size = structure.dtype.itemsize
        self.each = 1 if directions.traced else directions.count  # rows of the kernel for each example
        self.kernel_bytes = float(self.size * share * columns * self.each**2)
        self._order = {layer.module: i for i, layer in enumerate(structure.layers)}
        self._layers = {layer.module: layer for layer in structure.layers}
        self._cpu = next(iter(structure.parameters.values())).device.type == "cpu"
        cheap = int(_CHUNK_BYTES / self._each_example)
        self._largest_chunk = _MOST if not self._cpu else min(max(cheap, _CHUNK), _MOST, max(rows, columns))
        with_weight = {bias for bias in structure.factored.values() if bias}
        names = (name for name in structure.parameters if name not in with_weight)
        self.names = sorted(names, key=self._depth, reverse=True)

    # -- sizes ---------------------------------------------------------------------------------------------------

    def _depth(self, name: str) -> int:
        """Place of the earliest layer that uses a parameter: backward passes go down to it."""
        if name in self.structure.other_set:
            return -1
        return min(self._order.get(use.module, -1) for use in self.structure.uses[name])

    def rows_of(self, name: str) -> int:
        """Rows into which a parameter may be cut; a factored layer stays whole."""
        shape = self.structure.parameters[name].shape
        return 1 if name in self.structure.factored or not shape else shape[0]

    def numbers(self, name: str) -> float:
        """Numbers that one row of a parameter takes in the Jacobian, for each example."""
        shape, r = self.structure.parameters[name].shape, self.directions.count
        if name in self.structure.factored:
            return shape[1] + (self.structure.factored[name] is not None) + r * shape[0]
        return float(r * shape[1:].numel())

    def image(self, name: str) -> float:
        """Numbers that one row of a parameter takes in Jᵀ q for one vector q."""
        p, wide = self.structure.parameters[name], self.directions.count if self.directions.traced else 1
        if name in self.structure.factored:
            return wide * p.shape[0] * (p.shape[1] + (self.structure.factored[name] is not None))
        return float(wide * p.shape[1:].numel())

    def chunk(self, available: float) -> int:
        """Examples at once, for a quarter of the memory at most; all chunks nearly of one size."""
        fits = int((available / 4 - self._each_chunk) / self._each_example)
        longest = max(self.share, self.columns)
        most = max(1, min(self._largest_chunk, fits, longest))
        return -(-longest // -(-longest // most))

    def chunk_bytes(self, m: int) -> float:
        """Bytes for a chunk of m examples, beside its gradients."""
        return self._each_chunk + m * self._each_example

    def groups(self, per_row: Callable[[str, int], float], fixed: float) -> tuple[list[Group], int]:
        """Cut the parameters, from the last layer to the first, so that backward passes are short.

        Args:
            per_row: Name of a parameter and examples at once, to bytes kept for one of its rows.
            fixed: Bytes kept throughout.

        Returns:
            The groups and the examples at once.

        Raises:
            SettingError: Not even one row of the widest parameter fits.
        """
        available = self.memory - fixed
        least = fixed + self.chunk_bytes(1) + max(per_row(name, 1) for name in self.names)
        if self.memory < least:
            raise SettingError(
                f"memory is {_bytes(self.memory)}, but this kernel needs at least {_bytes(least * 1.001)}",
                "Give more, or take fewer examples.",
            )
        m = self.chunk(available)
        while m > 1 and available - self.chunk_bytes(m) < max(per_row(name, m) for name in self.names):
            m //= 2
        room = available - self.chunk_bytes(m)
        groups: list[Group] = []
        items: list[Item] = []
        used = 0.0
        for name in self.names:
            row, last, first = per_row(name, m), self.rows_of(name), 0
            while first < last:
                take = min(last - first, int((room - used) // row))
                if take <= 0:
                    groups.append(Group(tuple(items), used))
                    items, used = [], 0.0
                    continue
                items.append(Item(name, first, first + take))
                used += take * row
                first += take
        return [*groups, Group(tuple(items), used)], m

    # -- counts --------------------------------------------------------------------------------------------------

    def sweep_flops(self, group: Group) -> float:
        """FLOPs per example: forward, backward down to the earliest layer wanted, gradients of the parameters."""
        s, r = self.structure, self.directions.count
        names = [i for i in group.items if i.name not in s.other_set]
        total = 0.0
        if names:
            first = min(self._order[u.module] for i in names for u in s.uses[i.name])
            unknown = max(s.flops - sum(layer.flops for layer in s.layers), 0.0)
            total += s.flops + r * (sum(layer.flops for layer in s.layers[first + 1 :]) + 2 * unknown)
        for item in names:
            if item.name not in s.factored:
                share = (item.last - item.first) / self.rows_of(item.name)
                total += r * share * sum(self._gradient_flops(u.module, u.local) for u in s.uses[item.name])
        if len(names) < len(group.items):
            total += s.flops + 2 * r * s.flops
        return total

    def _gradient_flops(self, module: str, local: str) -> float:
        layer = self._layers.get(module)
        per_call = layer.flops if layer and local == "weight" else 0.0
        return self.structure.order.count(module) * per_call

    def gram_flops(self, items: Iterable[Item]) -> float:
        """FLOPs of the products of some columns of the Jacobian with themselves."""
        whole, r = 2.0 * self.share * self.columns, self.directions.count
        pairs = dense = whole
        if self.symmetric and self.share == self.rows:
            pairs *= sum((b - a) * (self.rows - a) for a, b in block_rows(self.rows)) / self.rows**2
            dense = whole / 2 if self._cpu else pairs
        total = 0.0
        for item in items:
            shape = self.structure.parameters[item.name].shape
            if item.name in self.structure.factored:
                bias = self.structure.factored[item.name] is not None
                total += pairs * (shape[1] + bias + shape[0] * r * self.each)
            else:
                total += dense * r * self.each * (item.last - item.first) * shape[1:].numel()
        return total

    def explicit(self) -> tuple[list[Group], int, Cost]:
        """Plan the kernel as a matrix: groups, examples at once, cost."""
        held = self.share if self.symmetric else self.share + self._largest_chunk
        held += -(-self.rows // dist.world()) if dist.world() > 1 else 0  # the pieces of one other process
        factored = any(True for _ in self.structure.factored)
        height = min(max(_BLOCK_ROWS, -(-self.rows // _BLOCKS)), self.share) if self.symmetric else self.share
        wide = self.columns if self.symmetric else min(self._largest_chunk, self.columns)
        temporary = float(self.size * height * wide * (self.each**2 + 1)) if factored else 0.0
        fixed = self.kernel_bytes + temporary
        groups, m = self.groups(lambda name, _: self.size * held * self.numbers(name), fixed)
        both = self.share if self.symmetric else self.share + self.columns
        flops = sum(both * self.sweep_flops(g) + self.gram_flops(g.items) for g in groups)
        peak = fixed + max(g.bytes for g in groups) + self.chunk_bytes(m)
        return groups, m, Cost(flops, len(groups) * both / self.share, peak)

    def product(self, block: int) -> tuple[list[Group], int, bool, Cost]:
        """Plan products with ``block`` vectors: groups, examples at once, whether gradients are kept, cost of one."""
        s = self.structure
        both = self.share + (0 if self.symmetric else -(-self.columns // dist.world()))
        vectors = 3.0 * self.size * (self.rows + self.columns) * self.each * block
        widest = max((s.parameters[name].shape[0] for name in s.factored), default=0)
        fixed = vectors + self.size * widest * block * self.chunk(max(self.memory - vectors, 0.0))

        def per_row(name: str, m: int) -> float:
            return self.size * (block * self.image(name) + m * self.numbers(name))

        groups, m = self.groups(per_row, fixed)
        passed = self.share + -(-self.columns // dist.world())
        flops = 2.0 * passed * block * sum(self._product_width(name) for name in self.names)
        images = sum(self.rows_of(name) * self.image(name) for name in self.names) * block * self.size
        kept = sum(self.rows_of(name) * self.numbers(name) for name in self.names) * both * self.size
        peak = fixed + images + kept + self.chunk_bytes(m)
        if peak < self.memory:
            whole = Group(tuple(Item(name, 0, self.rows_of(name)) for name in self.names), images + kept)
            return [whole], m, True, Cost(flops, 0.0, peak)
        sweeps = sum(self.sweep_flops(g) for g in groups) * passed
        peak = fixed + max(g.bytes for g in groups) + self.chunk_bytes(m)
        return groups, m, False, Cost(flops + sweeps, 2.0 * len(groups), peak)

    def _product_width(self, name: str) -> float:
        """Numbers of each example that a product passes over; a factored layer's directions are mixed first."""
        r, image = self.directions.count, self.rows_of(name) * self.image(name)
        if self.directions.traced:
            return image
        factored = name in self.structure.factored
        return image + r * self.structure.parameters[name].shape[0] if factored else r * image

    def first_sweep(self) -> float:
        """FLOPs of differentiating all examples once, for gradients that are kept."""
        both = self.share + (0 if self.symmetric else self.columns)
        return both * self.sweep_flops(Group(tuple(Item(name, 0, self.rows_of(name)) for name in self.names), 0.0))

    def layer_plans(self) -> tuple[LayerPlan, ...]:
        """Say how each parameter is treated, from the network's beginning to its end."""
        s = self.structure
        plans = []
        for name in reversed(self.names):
            how = "per-sample" if name in s.other_set else "factors" if name in s.factored else "slabs"
            kind = type(s.module(s.uses[name][0].module)).__name__ if s.uses[name] else "parameter"
            bias = s.factored.get(name)
            p = s.parameters[name].numel() + (s.parameters[bias].numel() if bias else 0)
            plans.append(LayerPlan(name, kind, how, p, self.gram_flops([Item(name, 0, self.rows_of(name))])))
        return tuple(plans)


def block_rows(n: int) -> list[tuple[int, int]]:
    """Cut n rows into blocks, of which a symmetric product does the upper half.

    Args:
        n: Rows.

    Returns:
        First row of each block, and the one after its last.

    Example:
        >>> block_rows(300)
        [(0, 128), (128, 256), (256, 300)]
    """
    size = max(_BLOCK_ROWS, -(-n // _BLOCKS))
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def parse_bytes(value: int | float | str) -> int:
    """Read an amount of memory.

    Args:
        value: Bytes, or text such as ``"2GiB"``, ``"500 MB"``.

    Returns:
        Bytes.

    Raises:
        SettingError: Not an amount, or not above 0.

    Example:
        >>> parse_bytes("1.5 KiB"), parse_bytes("2GB")
        (1536, 2000000000)
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?)(i?)[bB]?\s*", str(value))
    try:
        number = float(found.group(1)) if found else float("nan")
    except ValueError:
        number = float("nan")
    if not found or not number > 0:
        raise SettingError(f"memory is {value!r}", "Give bytes, or an amount such as '2GiB' or '500MB'.")
    power = " kmgt".index((found.group(2) or " ").lower())
    return int(number * (1024 if found.group(3) else 1000) ** power)


def _bytes(value: float) -> str:
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
