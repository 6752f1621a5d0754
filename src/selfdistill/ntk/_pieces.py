"""What of the Jacobian is wanted, and what is written down of it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Item", "Kept", "Piece"]


class Item(NamedTuple):
    """A part of the parameters whose gradients are wanted at once."""

    name: str  # the parameter; for a layer kept as factors, its weight
    first: int  # first row, along the parameter's first dimension
    last: int  # row after the last


class Kept(NamedTuple):
    """A layer whose inputs and gradients at its outputs are wanted, to make its weight's gradients from them later."""

    name: str  # the weight


class Piece(NamedTuple):
    """Gradients of one item for some examples, or what a kept layer's are made from."""

    # Factored: the layer's inputs, [m, i], with a column of ones for its bias. Kept: its inputs, [m, ...]. Else None.
    left: Tensor | None
    # Factored: gradients at the layer's outputs, [m, R, o]. Kept: the same, [m, R, ...]. Else of the parameter,
    # [m, R, p].
    right: Tensor
    fed: bool = False  # factored: left is a view of the examples themselves; the column of ones is not there
    bias: bool = False  # with fed: whether the layer has a bias that counts

    @property
    def lent(self) -> bool:
        """Whether there is no room yet."""
        return not len(self.right)

    def take_input(self, x: Tensor) -> None:
        """Write down a layer's input, where it is not there as it is: ``[m, ...]``."""
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
