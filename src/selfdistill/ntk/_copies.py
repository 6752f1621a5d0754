"""Parameters that every example shares as they are, such as positions: given to the network as one copy for each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfdistill.ntk._inputs import Arguments
from selfdistill.ntk._network import Network, differ

__all__ = ["COPY", "Copies", "Shared", "find_shared"]

COPY = "="  # before a parameter's name: the layer that its copies are


class Copies(nn.Module):
    """A parameter that the network adds to or multiplies with each example's activations.

    Given as ``[m, ...]`` in place of ``[1, ...]``, it broadcasts to the same, and the gradient at row i is that of
    example i. The rows are views of one and take no memory.

    Args:
        parameter: The parameter.
        shape: Its shape with a leading 1 for the examples.
    """

    def __init__(self, parameter: nn.Parameter, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value, self.shape = parameter, shape

    def of(self, value: Tensor, m: int) -> Tensor:
        """Give the copies for m examples: ``[m, ...]``."""
        return value.view(self.shape).expand(m, *self.shape[1:])


class Shared(NamedTuple):
    """What every example shares.

    Attributes:
        copies: Parameters that may be given as copies, by name.
        unbatched: Embeddings of something that has no row for each example.
    """

    copies: dict[str, Copies]
    unbatched: frozenset[str]


def find_shared(network: Network, names: list[str], modules: dict[str, nn.Module], args: Arguments) -> Shared:
    """Find what may be given as one copy for each example, because outputs stay the same.

    Args:
        network: The network.
        names: Parameters that no layer with a rule holds.
        modules: The network's, by name.
        args: A few examples.

    Returns:
        Both. Cost: two forward passes where all may be given so, else one more for each parameter.
    """
    holders = {name.rpartition(".")[0] for name in names}
    watched = {n: v for n, v in modules.items() if n in holders or isinstance(v, nn.Embedding)}
    if not names and not watched:
        return Shared({}, frozenset())
    shapes: dict[str, torch.Size] = {}

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor):
                shapes[name] = given[0].shape

        return hook

    with ExitStack() as stack:
        for name, module in watched.items():
            stack.callback(module.register_forward_pre_hook(listen(name)).remove)
        rows = _rows(network, args, {})
    if rows is None:  # the network does not take several examples
        return Shared({}, frozenset())
    m = len(rows)
    unbatched = {n for n, s in shapes.items() if isinstance(modules[n], nn.Embedding) and _is_shared(s, m)}
    given = {n: Copies(network.given[n], _shape(network.given[n], shapes.get(n.rpartition(".")[0]))) for n in names}
    if not _same(network, given, args, rows):
        given = {n: one for n, one in given.items() if len(given) > 1 and _same(network, {n: one}, args, rows)}
    return Shared(given, frozenset(unbatched))


def _is_shared(shape: torch.Size, m: int) -> bool:
    return len(shape) > 0 and shape[0] != m and (len(shape) == 1 or shape[0] == 1)


def _shape(parameter: Tensor, seen: torch.Size | None) -> tuple[int, ...]:
    """Give a parameter's shape with a leading 1, and more to reach the axes of what its module is called with."""
    if parameter.ndim > 1 and parameter.shape[0] == 1:
        return (*parameter.shape,)
    between = max(len(seen or ()) - 1 - parameter.ndim, 0)
    return (1, *([1] * between), *parameter.shape)


def _same(network: Network, copies: dict[str, Copies], args: Arguments, rows: Tensor) -> bool:
    values = {name: one.of(network.value(name), len(rows)) for name, one in copies.items()}
    found = _rows(network, args, values)
    return found is not None and found.shape == rows.shape and not differ(found, rows, rows)


def _rows(network: Network, args: Arguments, values: dict[str, Tensor]) -> Tensor | None:
    try:
        with torch.no_grad(), network.quiet():
            return network.rows(args, values or None)
    except Exception:  # shapes that do not broadcast, for instance
        return None
