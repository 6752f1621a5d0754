"""What a kernel will cost, layer by layer, before any of it is paid; and how to cut it to fit the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from selfdistill._core import dist
from selfdistill._core.errors import SettingError
from selfdistill.ntk._copies import Copies
from selfdistill.ntk._directions import Directions
from selfdistill.ntk._forecast import Cost, Group, Item, LayerPlan, LayerRecord, as_bytes
from selfdistill.ntk._multiply import SMALL, block_rows, token_products
from selfdistill.ntk._structure import Structure

_CHUNK = 64  # examples at once, at least, where the memory allows: enough for the speed of matrix products
_MOST = 512  # examples at once, at most
_CHUNK_BYTES = 2**21  # more than _CHUNK examples only where they take no more than this, on a CPU
_KEPT = 0.5  # what makes a layer's gradients is kept instead of them if it takes at most this share of their bytes
_SLAB_BYTES = 2**24  # a slab of a Linear layer's takes no more than this on a CPU: first use of more memory is slow
_SLAB_NUMBERS = 2**14  # of an example and direction in it, at most: enough for the speed of matrix products
_SLABS = 4  # its gradients are made in about this many slabs, each of which lays out its inputs' patches anew


class Planner:
    """Cuts parameters into groups that fit the memory, and counts."""

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
        self._cpu = structure.like.device.type == "cpu"
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
        uses = self.structure.uses[name]  # some of modules that are never called, such as one half of a tied pair
        return min((self._order[use.module] for use in uses if use.module in self._order), default=-1)

    def rows_of(self, name: str) -> int:
        """Rows into which a parameter may be cut; a factored layer stays whole."""
        shape = self.structure.parameters[name].shape
        return 1 if name in self.structure.factored or not shape else shape[0]

    def numbers(self, name: str, *, fed: bool = False) -> float:
        """Numbers that one row of a parameter takes in the Jacobian, for each example; ``fed``: where views do."""
        shape, r = self.structure.parameters[name].shape, self.directions.count
        if name in self.structure.factored:
            seen = fed and name in self.structure.fed
            return (0 if seen else shape[1] + (self.structure.factored[name] is not None)) + r * shape[0]
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

    def groups(self, per_row: Callable[[str, int], float], fixed: float, most: int = _MOST) -> tuple[list[Group], int]:
        """Cut the parameters, from the last layer to the first, so that backward passes are short."""
        available = self.memory - fixed
        least = fixed + self.chunk_bytes(1) + max(per_row(name, 1) for name in self.names)
        if self.memory < least:
            raise SettingError(
                f"memory is {as_bytes(self.memory)}, but this kernel needs at least {as_bytes(least * 1.001)}",
                "Give more, or take fewer examples.",
            )
        m = min(self.chunk(available), most)
        while m > 1 and available - self.chunk_bytes(m) < max(per_row(name, m) for name in self.names):
            m //= 2
        return self._cut(lambda name: per_row(name, m), available - self.chunk_bytes(m), m, {}), m

    def _lean(self, fixed: float) -> tuple[list[Group], int] | None:
        """Cut the parameters as `groups` does, but of wide layers keep what their gradients are made from."""
        m = self.chunk(self.memory - fixed)
        room = self.memory - fixed - self.chunk_bytes(m)
        every = self.size * self.rows
        store = {name: self._store(name) for name in self.names}
        if not any(store.values()) or room < max(every * self.numbers(name) for name in self.names):
            return None
        return self._cut(lambda name: every * self.numbers(name, fed=True), room, m, store), m

    def _cut(self, row_of: Callable[[str], float], room: float, m: int, store: dict[str, float]) -> list[Group]:
        """Fill groups with rows of parameters, or with layers that are kept where their store is worth it."""
        groups: list[Group] = []
        items: list[Item] = []
        kept: list[LayerRecord] = []
        held = used = 0.0  # by what is kept; by gradients
        for name in self.names:
            row, last, first, stored = row_of(name), self.rows_of(name), 0, store.get(name, 0.0)
            thin = max(row, row * last / (2 * _SLABS))  # thinner slabs would lay out patches too often
            if self.structure.embedding(name) is not None:
                thin = stored
            if stored and held + stored + max(used, thin) <= room:
                kept.append(LayerRecord(name))
                held += stored
                continue
            while first < last:
                take = min(last - first, int((room - held - used) // row))
                if take > 0:
                    items.append(Item(name, first, first + take))
                    used += take * row
                    first += take
                if first < last:
                    groups.append(self._with_slabs(items, kept, held, used, room - held, m))
                    items, kept, held, used = [], [], 0.0, 0.0
        return [*groups, self._with_slabs(items, kept, held, used, room - held, m)]

    def _store(self, name: str) -> float:
        """Bytes of what a layer's gradients are made from, for all examples, where that is worth while; else 0."""
        if not self.structure.may_be_kept(name):
            return 0.0
        layer = self.structure.layer_of(name)
        each = layer.bytes_in + self.directions.count * layer.bytes_out
        return self.rows * each if each <= _KEPT * self.size * self.rows_of(name) * self.numbers(name) else 0.0

    def _with_slabs(
        self, items: list[Item], kept: list[LayerRecord], held: float, used: float, room: float, m: int
    ) -> Group:
        """Cut kept layers into slabs no larger than what is needed anyway, or a few for the widest."""
        whole = {k.name: self.size * self.rows * self.numbers(k.name) * self.rows_of(k.name) for k in kept}
        widest = max((v / _SLABS for k, v in whole.items() if self.structure.embedding(k) is None), default=0.0)
        most = min(room, max(used + self.chunk_bytes(m), widest))
        slabs: list[Item] = []
        highest = 0.0
        for name, total in whole.items():
            rows, layer = self.rows_of(name), self.structure.layer_of(name)
            if self.structure.embedding(name) is not None:
                slabs.append(Item(name, 0, rows))
                highest = max(highest, self._store(name))
                continue
            plain, quick = self._cpu and not layer.bytes_patches, self.directions.count * _SLAB_NUMBERS * self.size
            count = min(rows, math.ceil(total / (min(most, _SLAB_BYTES, self.rows * quick) if plain else most)))
            size = -(-rows // count)
            slabs += [Item(name, start, min(start + size, rows)) for start in range(0, rows, size)]
            outputs = m * self.directions.count * layer.bytes_out
            highest = max(highest, size * total / rows + outputs + self._each_chunk)
        return Group(tuple(items), held + used, tuple(kept), tuple(slabs), held + highest)

    # -- counts --------------------------------------------------------------------------------------------------

    def sweep_flops(self, group: Group) -> float:
        """FLOPs per example: forward, backward down to the earliest layer wanted, gradients of the parameters."""
        s, r = self.structure, self.directions.count
        names = [i for i in group.everything if i.name not in s.other_set]
        total = 0.0
        if names:
            first = min(self._depth(i.name) for i in names)
            unknown = max(s.flops - sum(layer.flops for layer in s.layers), 0.0)
            total += s.flops + r * (sum(layer.flops for layer in s.layers[first + 1 :]) + 2 * unknown)
        for item in names:
            if item.name not in s.factored:
                share = (item.last - item.first) / self.rows_of(item.name)
                total += r * share * sum(self._gradient_flops(u.module, u.local) for u in s.uses[item.name])
        if len(names) < len(group.everything):
            total += s.flops + 2 * r * s.flops
        return total

    def _gradient_flops(self, module: str, local: str) -> float:
        layer = self._layers.get(module)
        per_call = layer.flops if layer and local == "weight" else 0.0
        return self.structure.order.count(module) * per_call

    def gram_flops(self, items: Iterable[Item], kept: Iterable[LayerRecord] = ()) -> float:
        """FLOPs of the products of some columns of the Jacobian with themselves; embeddings that are kept by token."""
        whole, r = 2.0 * self.share * self.columns, self.directions.count
        pairs = dense = whole
        if self.symmetric and self.share == self.rows:
            pairs *= (
                0.5
                if self._half_products()
                else sum((b - a) * (self.rows - a) for a, b in block_rows(self.rows, self.each)) / self.rows**2
            )
            dense = whole / 2 if self._cpu else pairs
        total, by_token = 0.0, {k.name for k in kept if self.structure.embedding(k.name) is not None}
        for item in items:
            shape = self.structure.parameters[item.name].shape
            if item.name in by_token:
                length = math.prod(self.structure.layer_of(item.name).shape_in)
                total += 2 * r / self.each * shape[1] * token_products(self.rows, length, shape[0], self.each)
            elif item.name in self.structure.factored:
                bias = self.structure.factored[item.name] is not None
                total += pairs * (shape[1] + bias + shape[0] * r * self.each)
            else:
                total += dense * r * self.each * (item.last - item.first) * shape[1:].numel()
        return total

    def _half_products(self) -> bool:
        """Say whether factors are multiplied by BLAS's symmetric product."""
        alone = self.symmetric and self.share == self.rows and self.each == 1
        return alone and self._cpu and self.rows <= SMALL and self.structure.dtype in {torch.float32, torch.float64}

    def explicit(self) -> tuple[list[Group], int, Cost]:
        """Plan the kernel as a matrix: groups, examples at once, cost."""
        held = self.share if self.symmetric else self.share + self._largest_chunk
        held += -(-self.rows // dist.world()) if dist.world() > 1 else 0  # the pieces of one other process
        factored = bool(self.structure.factored)
        height = min(block_rows(self.rows, self.each)[0][1], self.share) if self.symmetric else self.share
        wide = self.columns if self.symmetric else min(self._largest_chunk, self.columns)
        temporary = float(self.size * height * wide * (self.each**2 + 1)) if factored else 0.0
        if factored and self._half_products():
            temporary = 2.0 * self.kernel_bytes
        fixed = self.kernel_bytes + temporary
        groups, m = self.groups(lambda name, _: self.size * held * self.numbers(name, fed=True), fixed)
        alone = self.symmetric and self.share == self.rows
        lean = self._lean(fixed) if alone else None
        if lean is not None and len(lean[0]) <= len(groups):
            groups, m = lean
        both = self.share if self.symmetric else self.share + self.columns
        flops = sum(both * self.sweep_flops(g) + self.gram_flops(g.everything, g.kept) for g in groups)
        peak = fixed + max(g.bytes for g in groups) + self.chunk_bytes(m)
        if alone:  # there is no matrix yet in the first sweep, and no scratch space of a sweep in a product
            peak = 0.0
            for i, g in enumerate(groups):
                started = self.kernel_bytes if i else 0.0
                peak = max(peak, g.bytes + max(started + self.chunk_bytes(m), fixed), self.kernel_bytes + g.slab_bytes)
        return groups, m, Cost(flops, len(groups) * both / self.share, peak)

    def product(self, block: int) -> tuple[list[Group], int, bool, Cost]:
        """Plan products with ``block`` vectors: groups, examples at once, whether gradients are kept, cost of one."""
        s = self.structure
        both = self.share + (0 if self.symmetric else -(-self.columns // dist.world()))
        vectors = 3.0 * self.size * (self.rows + self.columns) * self.each * block
        widest = max((s.parameters[name].shape[0] for name in s.factored), default=0)
        mixed, most = float(self.size * widest * block), self.chunk(max(self.memory - vectors, 0.0))
        while most > 1 and vectors + mixed * most > self.memory / 2:
            most //= 2
        fixed = vectors + mixed * most

        def per_row(name: str, m: int) -> float:
            return self.size * (block * self.image(name) + m * self.numbers(name))

        groups, m = self.groups(per_row, fixed, most)
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
            slow = "one by one" if s.per_sample.one_by_one else "per-sample"
            how = slow if name in s.other_set else "factors" if name in s.factored else "slabs"
            held = [s.module(use.module) for use in s.uses[name]]
            kind = type(held[0]).__name__ if held and not isinstance(held[0], Copies) else "parameter"
            bias = s.factored.get(name)
            p = s.parameters[name].numel() + (s.parameters[bias].numel() if bias else 0)
            plans.append(LayerPlan(name, kind, how, p, self.gram_flops([Item(name, 0, self.rows_of(name))])))
        return tuple(plans)
