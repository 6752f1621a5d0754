"""The Jacobian of a network with respect to its parameters, chunk of examples by chunk, parameter by parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from selfdistill.ntk._conv import AT_ONCE
from selfdistill.ntk._directions import Directions
from selfdistill.ntk._inputs import Inputs
from selfdistill.ntk._layers import layer_rows
from selfdistill.ntk._peak import PeakBytes
from selfdistill.ntk._per_sample import PerSample
from selfdistill.ntk._recorder import Call, full_precision
from selfdistill.ntk._structure import Structure

__all__ = ["Item", "Jacobian", "Piece"]


class Item(NamedTuple):
    """A part of the parameters whose gradients are wanted at once.

    Attributes:
        name: The parameter; for a layer kept as factors, its weight.
        first: First row, along the parameter's first dimension.
        last: Row after the last.
    """

    name: str
    first: int
    last: int


class Piece(NamedTuple):
    """Gradients of one item for some examples.

    Attributes:
        left: Factored: the layer's inputs, ``[m, i]``, with a column of ones for its bias; else ``None``.
        right: Factored: gradients at the layer's outputs, ``[m, R, o]``; else at the parameter, ``[m, R, p]``.
    """

    left: Tensor | None
    right: Tensor

    def rows(self, start: int, stop: int) -> Piece:
        """Give some of the examples, as views."""
        return Piece(None if self.left is None else self.left[start:stop], self.right[start:stop])


@final
class Jacobian:
    """Per-sample gradients of the R directions, for the items asked for.

    Args:
        structure: How the network is laid out.
        directions: Which outputs are looked at.
    """

    def __init__(self, structure: Structure, directions: Directions) -> None:
        self.structure, self.directions = structure, directions
        self.model: nn.Module = structure.model
        self._per_sample = PerSample(self.model)
        self.examples = 0  # that went through the network, over the life of this object

    def empty(self, item: Item, m: int, like: Tensor) -> Piece:
        """Make room for an item's gradients of m examples."""
        r, shape = self.directions.count, self.structure.parameters[item.name].shape
        if item.name in self.structure.factored:
            bias = self.structure.factored[item.name] is not None
            left = like.new_empty(m, shape[1] + bias)
            left[:, shape[1] :] = 1.0
            return Piece(left, like.new_empty(m, r, shape[0]))
        return Piece(None, like.new_empty(m, r, (item.last - item.first) * shape[1:].numel()))

    def fill(self, inputs: Inputs, start: int, items: Sequence[Item], pieces: Sequence[Piece]) -> None:
        """Differentiate the network for some examples.

        Args:
            inputs: All examples.
            start: First of this chunk.
            items: What is wanted.
            pieces: Written to, one for each item; their length says how many examples.

        Cost: one forward pass and R backward passes of the activations, down to the first layer that is wanted;
        ``2 m R p S`` FLOPs for the gradients of p parameters at S positions.
        """
        m = len(pieces[0].right)
        args, kwargs = inputs.chunk(start, start + m)
        other = self.structure.other_set
        pairs = list(zip(items, pieces, strict=True))
        known = [(item, piece) for item, piece in pairs if item.name not in other]
        rest = [(item, piece) for item, piece in pairs if item.name in other]
        with full_precision(self.model):
            if known:
                self._known(args, kwargs, known)
            if rest:
                names = list(dict.fromkeys(item.name for item, _ in rest))
                found = self._per_sample(args, kwargs, self.directions.of, names)
                for item, piece in rest:
                    grads = found[item.name]
                    grads = grads if grads.ndim > 2 else grads[:, :, None]
                    piece.right.copy_(grads[:, :, item.first : item.last].flatten(2))
        self.examples += m

    def overhead(self, inputs: Inputs) -> tuple[float, float]:
        """Measure on two examples what differentiating takes beside the gradients.

        Args:
            inputs: All examples.

        Returns:
            Bytes for each example of a chunk, and for the chunk: patches are laid out for a few examples at a time.
        """
        biases = {name for name in self.structure.factored.values() if name}
        named = ((name, p) for name, p in self.structure.parameters.items() if name not in biases)
        items = [Item(name, 0, len(p) if p.ndim else 1) for name, p in named]
        like: Tensor = next(iter(self.structure.parameters.values())).detach()
        m = min(2, len(inputs))
        pieces = [self.empty(item, m, like) for item in items]
        with PeakBytes() as counter:
            self.fill(inputs, 0, items, pieces)
        self.examples -= m
        patches = max((layer.bytes_patches for layer in self.structure.layers), default=0)
        few = patches if like.device.type == "cpu" else 0
        return max(counter.peak / m - few, 1.0), float(few * AT_ONCE)

    def _known(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], pairs: Sequence[tuple[Item, Piece]]) -> None:
        wanted = {use.module for item, _ in pairs for use in self.structure.uses[item.name]}
        logits, calls = self.structure.recorder(wanted).run(args, kwargs)
        self.structure.check_calls(calls, wanted)
        grads = _pull(logits, calls, self.directions)
        for item, piece in pairs:
            if piece.left is not None:
                module = self.structure.uses[item.name][0].module
                index = next(i for i, call in enumerate(calls) if call.module == module)
                x = calls[index].x.flatten(1)
                piece.left[:, : x.shape[1]] = x
                piece.right.copy_(grads[index].reshape(piece.right.shape))
            else:
                self._dense(item, piece.right, calls, grads)

    def _dense(self, item: Item, out: Tensor, calls: list[Call], grads: list[Tensor]) -> None:
        rows, first = slice(item.first, item.last), True
        for use in self.structure.uses[item.name]:
            layer = self.structure.module(use.module)
            for call, grad in zip(calls, grads, strict=True):
                if call.module != use.module:
                    continue
                target = out if first else torch.empty_like(out)
                layer_rows(layer, use.local, call.x, grad, rows, target)
                if not first:  # a shared parameter: its gradient is the sum over its uses
                    out.add_(target)
                first = False


def _pull(logits: Tensor, calls: list[Call], directions: Directions) -> list[Tensor]:
    """Differentiate each direction at the output of each call: ``[m, R, ...]``."""
    vectors = directions.of(logits)
    nodes = [call.out for call in calls]
    m, count = len(logits), directions.count
    if count == 1:
        rows = torch.autograd.grad(logits, nodes, vectors[:, 0], allow_unused=True)
        return [(torch.zeros_like(n) if g is None else g)[:, None] for g, n in zip(rows, nodes, strict=True)]
    found = [torch.zeros((m, count, *node.shape[1:]), dtype=node.dtype, device=node.device) for node in nodes]
    for r in range(count):
        rows = torch.autograd.grad(logits, nodes, vectors[:, r], retain_graph=r + 1 < count, allow_unused=True)
        for stacked, grad in zip(found, rows, strict=True):
            if grad is not None:
                stacked[:, r] = grad
    return found
