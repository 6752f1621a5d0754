"""Parameters that every example shares as they are, such as positions: given to the network as one copy for each."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfdistill.ntk._inputs import Arguments, count_of
from selfdistill.ntk._network import Network, differ

_MOST_AXES = 3

COPY = "="  # before a parameter's name: the layer that its copies are


class Copies(nn.Module):
    """A parameter that the network adds to or multiplies with each example's activations."""

    # Given as [m, ...] in place of [1, ...] it broadcasts to the same, and the gradient at row i is that of example i.
    # The rows are views of one and take no memory.

    def __init__(self, parameter: nn.Parameter, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value, self.shape = parameter, shape

    def of(self, value: Tensor, m: int) -> Tensor:
        """Give the copies for m examples: ``[m, ...]``."""
        return value.view(self.shape).expand(m, *self.shape[1:])


class Shared(NamedTuple):
    """What every example shares."""

    copies: dict[str, Copies]  # parameters that may be given as copies, by name
    unbatched: frozenset[str]  # embeddings of something that has no row for each example


@contextmanager
def axes_of_inputs(modules: dict[str, nn.Module], names: list[str]) -> Generator[dict[str, int]]:
    """Watch what the modules that hold some parameters are called with."""
    axes = dict.fromkeys(names, 0)

    def listen(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor):
                axes[name] = given[0].ndim

        return hook

    with ExitStack() as stack:
        for name in names:
            module = modules[name.rpartition(".")[0]]
            stack.callback(module.register_forward_pre_hook(listen(name)).remove)
        yield axes


def find_shared(
    network: Network, modules: dict[str, nn.Module], axes: dict[str, int], args: Arguments, first: Tensor
) -> Shared:
    """Find what may be given as one copy for each example, because outputs stay the same."""
    embeddings = {name: module for name, module in modules.items() if isinstance(module, nn.Embedding)}
    copies = {name: Copies(network.given[name], _shape(network.given[name], axes[name])) for name in axes}
    if not copies and not embeddings:
        return Shared({}, frozenset())
    unbatched = _tried(network, copies, embeddings, args, first)
    if unbatched is not None:
        return Shared(copies, unbatched)
    alone = (_tried(network, {}, {name: module}, args, first) for name, module in embeddings.items())
    kinds: dict[tuple[type, str], dict[str, Copies]] = {}
    for name, copy in copies.items():
        holder, _, local = name.rpartition(".")
        kinds.setdefault((type(modules[holder]), local), {})[name] = copy
    right: dict[str, Copies] = {}
    for some in kinds.values():
        for more in range(_MOST_AXES):  # between examples and a parameter
            shaped = {k: Copies(v.value, (*v.shape[:1], *([1] * more), *v.shape[1:])) for k, v in some.items()}
            if _tried(network, shaped, {}, args, first) is not None:
                right |= shaped
                break
    return Shared(right, frozenset().union(*(v for v in alone if v)))


def _shape(parameter: Tensor, axes: int) -> tuple[int, ...]:
    """Give a parameter's shape with a leading 1, and more to reach the axes of what its module is called with."""
    if parameter.ndim > 1 and parameter.shape[0] == 1:
        return (*parameter.shape,)
    return (1, *([1] * (axes - 1 - parameter.ndim)), *parameter.shape)


def _tried(
    network: Network, copies: dict[str, Copies], embeddings: dict[str, nn.Embedding], args: Arguments, first: Tensor
) -> frozenset[str] | None:
    """Run the network with copies, and embeddings of what has no row for each example expanded."""
    m, unbatched = count_of(args), set()

    def listen(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if not given or not _is_shared(given[0].shape, m):
                return None
            unbatched.add(name)
            return expanded(given[0], out, m)[1]

        return hook

    values = {name: one.of(network.value(name), m) for name, one in copies.items()}
    with ExitStack() as stack:
        for name, module in embeddings.items():
            stack.callback(module.register_forward_hook(listen(name)).remove)
        try:
            with torch.no_grad(), network.quiet():
                rows = network.rows(args, values or None, alone=False)
        except Exception:  # shapes that do not broadcast, for instance
            return None
    same = rows[:1].shape == first.shape and not differ(rows[:1], first, rows)
    return frozenset(unbatched) if same else None


def _is_shared(shape: torch.Size, m: int) -> bool:
    return len(shape) > 0 and shape[0] != m and (len(shape) == 1 or shape[0] == 1)


def expanded(x: Tensor, out: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Give an embedding's input and output a row for each example."""
    x, out = (v[None] if x.ndim == 1 else v for v in (x, out))
    return x.expand(m, *x.shape[1:]), out.expand(m, *out.shape[1:])
