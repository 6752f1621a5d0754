"""The Jacobian of a network with respect to its parameters, chunk of examples by chunk, parameter by parameter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import final

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from selfdistill._core.errors import DataError
from selfdistill.ntk._directions import Directions, RandomDirection
from selfdistill.ntk._forecast import Item, LayerRecord, Piece
from selfdistill.ntk._inputs import Arguments, Inputs, count_of, each_tensor
from selfdistill.ntk._layers import AT_ONCE, layer_rows
from selfdistill.ntk._multiply import add_tokens
from selfdistill.ntk._network import Mismatch, is_wrong, refuse_coupled, refuse_infinite
from selfdistill.ntk._peak import PeakBytes
from selfdistill.ntk._per_sample import pull
from selfdistill.ntk._recorder import Call
from selfdistill.ntk._structure import Probe, Structure

_Pair = tuple[Item | LayerRecord, Piece]


@final
class Jacobian:
    """Per-sample gradients of the R directions, for the items asked for."""

    def __init__(self, structure: Structure, directions: Directions | RandomDirection) -> None:
        self.structure, self.directions = structure, directions
        self.examples = 0  # that went through the network, over the life of this object
        self._checked: set[tuple[Item | LayerRecord, tuple[torch.Size, ...]]] = set()

    def empty(self, item: Item | LayerRecord, m: int, like: Tensor) -> Piece:
        """Make room for an item's gradients of m examples."""
        r, shape = self.directions.count, self.structure.parameters[item.name].shape
        if isinstance(item, LayerRecord):
            layer = self.structure.layer_of(item.name)
            kind = torch.int64 if self.structure.embedding(item.name) else like.dtype
            return Piece(like.new_empty(m, *layer.shape_in, dtype=kind), like.new_empty(m, r, *layer.shape_out))
        if item.name in self.structure.factored:
            bias = self.structure.factored[item.name] is not None
            left = like.new_empty(m, shape[1] + bias)
            left[:, shape[1] :] = 1.0
            return Piece(left, like.new_empty(m, r, shape[0]))
        return Piece(None, like.new_empty(m, r, (item.last - item.first) * shape[1:].numel()))

    def fed(self, item: Item | LayerRecord, inputs: Inputs, first: int, last: int, like: Tensor) -> Piece | None:
        """Make room for a layer's factors where its inputs are the examples themselves, or give ``None``."""
        if not isinstance(item, Item) or item.name not in self.structure.fed:
            return None
        rows, shape = inputs.as_fed(), self.structure.parameters[item.name].shape
        if rows is None:
            return None
        right = like.new_empty(last - first, self.directions.count, shape[0])
        return Piece(rows[first:last].flatten(1), right, True, self.structure.factored[item.name] is not None)

    def room(self, items: Sequence[Item], m: int, like: Tensor) -> Tensor:
        """Make room for the largest of some slabs: what is used again is in the cache, and needs no new pages."""
        s = self.structure
        layers = [item for item in items if s.embedding(item.name) is None]
        numbers = max((i.last - i.first) * s.parameters[i.name].shape[1:].numel() for i in layers)
        return like.new_empty(m * self.directions.count * numbers)

    def expand(self, item: Item, kept: Piece, chunk: int, room: Tensor) -> Piece:
        """Make gradients from what was kept of their layer, in ``room``: ``2 m R p S`` FLOPs, no network."""
        use, m = self.structure.uses[item.name][0], len(kept.right)
        p = (item.last - item.first) * self.structure.parameters[item.name].shape[1:].numel()
        out = room[: m * self.directions.count * p].view(m, self.directions.count, p)
        module = self.structure.module(use.module)
        for start in range(0, m, chunk):
            some = kept.rows(start, start + chunk)
            assert some.left is not None
            rows = slice(item.first, item.last)
            layer_rows(module, use.local, some.left, some.right, rows, out[start : start + chunk])
        return Piece(None, out)

    def add_tokens(self, item: Item, kept: Piece, kernel: Tensor) -> bool:
        """Add an embedding's part to a kernel, and say whether the item is one."""
        module = self.structure.embedding(item.name)
        if module is not None and kept.left is not None:
            add_tokens(kernel, kept.left, kept.right, module.padding_idx)
        return module is not None

    def fill(
        self, inputs: Inputs, start: int, stop: int, items: Sequence[Item | LayerRecord], pieces: Sequence[Piece]
    ) -> None:
        """Differentiate the network for some examples."""
        args = inputs.chunk(start, stop)
        pairs = list(zip(items, pieces, strict=True))
        rows = self.differentiate(args, pairs)
        self.examples += stop - start
        probe, self.structure.probe = self.structure.probe, None  # its room is wanted once at most
        everything = inputs is self.structure.inputs and (start, stop) == (0, len(inputs))
        self._check(args, pairs, rows, probe if everything else None)

    def differentiate(
        self, args: Arguments, pairs: Sequence[_Pair], *, alone: bool = False, probe: Probe | None = None
    ) -> Tensor | None:
        """Differentiate the network without a check."""
        other, rows = self.structure.other_set, None
        known = [(item, piece) for item, piece in pairs if item.name not in other]
        rest = [(item, piece) for item, piece in pairs if item.name in other and isinstance(item, Item)]
        if known and probe is not None:
            self._write(known, probe.uses, probe.grads, set())
            rows = probe.rows
        elif known:
            with self.structure.network.quiet():
                rows = self._known(args, known)
            if self.structure.by_value and len(rows) > 1:  # the later half alone must give the same: half a pass
                half, network = len(rows) // 2, self.structure.network
                with torch.no_grad(), network.quiet():
                    refuse_coupled(rows[half:], network.rows(args.rows(half, len(rows))), rows)
        if rest:
            names = list(dict.fromkeys(item.name for item, _ in rest))
            gradients = self.structure.per_sample(args, self.directions, names, alone=alone)
            for item, piece in rest:
                grads = gradients[item.name]
                grads = grads if grads.ndim > 2 else grads[:, :, None]
                piece.right.copy_(grads[:, :, item.first : item.last].flatten(2))
        return rows

    def _check(self, args: Arguments, pairs: Sequence[_Pair], rows: Tensor | None, probe: Probe | None = None) -> None:
        """Compare three examples with themselves, each item once for each size of chunk."""
        # Each is alone where rows are placed by the values of numbers, and for what has no rule. Elsewhere they are
        # three together: such three had the gradients of each alone when the network was looked at. Where the chunk is
        # all there is they are those very three, and probe is what was seen.
        assert isinstance(self.directions, Directions)
        sizes, structure = tuple(v.shape for v in each_tensor(args)), self.structure
        certain = structure.other_set if structure.per_sample.one_by_one else set()
        todo = [(i, p) for i, p in pairs if i.name not in certain and (i, sizes) not in self._checked]
        if not todo:
            return
        m = count_of(args)
        few = sorted({0, m // 2, m - 1})
        if probe is None or not self._agree(args, todo, rows, few, probe):  # weights may have changed since
            each = [few[k : k + 1] for k in range(len(few))] if structure.by_value else [few]
            wrong = set().union(*(self._wrong(args, todo, rows, chosen) for chosen in each))
            if wrong and not self._is_rounding(args, [item for item, _ in todo]):
                raise Mismatch(wrong - structure.other_set)
        self._checked |= {(item, sizes) for item, _ in todo}

    def _agree(self, args: Arguments, todo: Sequence[_Pair], rows: Tensor | None, few: list[int], probe: Probe) -> bool:
        try:
            return not self._wrong(args, todo, rows, few, probe)
        except DataError:
            return False

    def _wrong(
        self, args: Arguments, todo: Sequence[_Pair], rows: Tensor | None, chosen: list[int], probe: Probe | None = None
    ) -> set[str]:
        """Name the parameters whose gradients of some examples of a chunk are not those without the others."""
        assert isinstance(self.directions, Directions)
        reference, wrong = Jacobian(self.structure, RandomDirection(self.directions)), set()
        expected = [(item, reference.empty(item, len(chosen), piece.right)) for item, piece in todo]
        alone = reference.differentiate(args.chosen(chosen), expected, alone=True, probe=probe)
        if rows is not None and alone is not None:
            refuse_coupled(rows[chosen], alone, rows)
        found = {
            item: _differences(piece, right, chosen, self.directions)
            for (item, piece), (_, right) in zip(todo, expected, strict=True)
        }
        for k in range(len(chosen)):
            each = {item: (errors[k], norms[k]) for item, (errors, norms) in found.items()}
            scale, dtype = max(norm for _, norm in each.values()), self.structure.dtype
            wrong |= {item.name for item, (error, norm) in each.items() if is_wrong(error, norm, scale, dtype)}
        return wrong

    def _is_rounding(self, args: Arguments, items: list[Item | LayerRecord]) -> bool:
        """Say whether what differs in some gradients does not in 64 bit."""
        assert isinstance(self.directions, Directions)
        if self.structure.dtype == torch.float64:
            return False
        try:
            twin = Jacobian(self.structure.in_double(), self.directions)
            twin.structure.demote(self.structure.other_set)
            if twin.structure.other_set != self.structure.other_set:
                return False
            args = args.mapped(lambda v: v.double() if v.is_floating_point() else v)
            m, like = len(next(each_tensor(args))), twin.structure.like
            pairs = [(item, twin.empty(item, m, like)) for item in items]
            twin._check(args, pairs, twin.differentiate(args, pairs))
        except (DataError, Mismatch):
            return False
        return twin.structure.per_sample.way == self.structure.per_sample.way  # else another way was compared

    def overhead(self, inputs: Inputs) -> tuple[float, float]:
        """Measure on three examples what differentiating takes beside the gradients."""
        patches = max((layer.bytes_patches for layer in self.structure.layers), default=0)
        if self.directions.count == 1 and not self.structure.other_set and not patches:
            return max(self.structure.probe_bytes, 1.0), 0.0  # the same was counted when the network was looked at
        biases = {name for name in self.structure.factored.values() if name}
        named = [(name, p) for name, p in self.structure.parameters.items() if name not in biases]
        items = [Item(name, 0, len(p) if p.ndim else 1) for name, p in named]
        m = min(3, len(inputs))
        args = inputs.chunk(0, m)
        pairs = [(item, self.empty(item, m, self.structure.like)) for item in items]
        with PeakBytes() as counter:
            rows = self.differentiate(args, pairs)
        rest = [(item, piece) for item, piece in pairs if item.name in self.structure.other_set]
        self._check(args, rest, rows)  # rules were compared on such a chunk when the network was looked at
        few = patches if self.structure.like.device.type == "cpu" else 0
        return max(counter.peak / m - few, 1.0), float(few * AT_ONCE)

    def _known(self, args: Arguments, pairs: Sequence[_Pair]) -> Tensor:
        structure = self.structure
        wanted = {use.module for item, _ in pairs for use in structure.uses[item.name]}
        try:
            logits, calls = structure.recorder(wanted).run(args)
        except Exception as error:
            shared = structure.held_by(wanted & structure.shared)
            if not shared:
                raise
            raise Mismatch(shared) from error  # copies did not broadcast in a chunk of this size
        refuse_infinite(logits)
        structure.check_calls(calls, wanted, len(logits))
        self._check_shapes(calls, [item for item, piece in pairs if piece.left is not None])
        edges = [(get_gradient_edge(call.out), call.out.shape) for call in calls]
        targets: dict[int, Tensor] = {}  # where gradients at a call's outputs are wanted as they are
        used: set[str] = set()  # layers whose inputs are wanted after the pass
        for item, piece in pairs:
            if piece.left is None or piece.lent:
                used |= {use.module for use in structure.uses[item.name]}
                continue
            index = next(i for i, call in enumerate(calls) if call.module == structure.uses[item.name][0].module)
            targets[index] = piece.right.view(len(logits), -1, *calls[index].out.shape[1:])
            piece.take_input(calls[index].x)
        uses = [(call.module, call.x if call.module in used else None) for call in calls]
        del calls  # outputs, and inputs that nothing needs any more
        watched = structure.by_value and len(logits) > 1
        grads, strange = pull(logits, edges, self.directions, targets, watched=watched)
        if strange:
            raise Mismatch(structure.held_by({uses[i][0] for i in strange}))
        self._write(pairs, uses, grads, set(targets))
        return logits.detach()

    def _check_shapes(self, calls: Sequence[Call], items: Sequence[Item | LayerRecord]) -> None:
        """Refuse layers that are kept where they are not given what the probe's were, such as fewer tokens."""
        given = {call.module: (call.x.shape[1:], call.out.shape[1:]) for call in calls}
        layers = {item.name: self.structure.layer_of(item.name) for item in items}
        changed = {name for name, v in layers.items() if given[v.module] != (v.shape_in, v.shape_out)}
        if changed:
            raise Mismatch(changed)

    def _write(
        self,
        pairs: Sequence[_Pair],
        uses: Sequence[tuple[str, Tensor | None]],
        grads: Sequence[Tensor],
        done: Collection[int],
    ) -> None:
        """Write what is wanted, from inputs of layers and gradients at their outputs, but for calls that are done."""
        for item, piece in pairs:
            if piece.left is None:
                assert isinstance(item, Item)
                self._dense(item, piece.right, uses, grads)
                continue
            index = next(i for i, use in enumerate(uses) if use[0] == self.structure.uses[item.name][0].module)
            x = uses[index][1]
            if index not in done and x is not None:
                piece.take(x, grads[index])

    def _dense(
        self, item: Item, out: Tensor, uses: Sequence[tuple[str, Tensor | None]], grads: Sequence[Tensor]
    ) -> None:
        rows, first = slice(item.first, item.last), True
        for use in self.structure.uses[item.name]:
            layer = self.structure.module(use.module)
            for (module, x), grad in zip(uses, grads, strict=True):
                if module != use.module or x is None:
                    continue
                target = out if first else torch.empty_like(out)
                layer_rows(layer, use.local, x, grad, rows, target)
                if not first:  # a shared parameter: its gradient is the sum over its uses
                    out.add_(target)
                first = False


def _differences(
    found: Piece, right: Piece, chosen: list[int], directions: Directions
) -> tuple[list[float], list[float]]:
    """Give the norms of errors in the gradients of some examples, directions mixed, and the norms of the right ones."""
    weights = RandomDirection(directions).weights.to(found.right)
    true = right.right[:, 0]
    mixed = torch.stack([torch.tensordot(weights, found.right[i], dims=1) for i in chosen])
    norm, error = _norms(true), _norms(mixed.sub_(true))
    if found.left is not None and right.left is not None:
        left = _norms(right.left)
        apart = 0.0 if found.fed else _norms(found.left[chosen] - right.left)  # views of the examples are in order
        norm, error = norm * left, error * left + norm * apart
    return error.tolist(), norm.tolist()


def _norms(value: Tensor) -> Tensor:
    rows = value if value.is_floating_point() else value.double()
    norms: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norms
