"""Watch a forward pass: what goes into each layer and what comes out, kept in reach of the backward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfdistill.ntk._copies import COPY, Copies, expanded
from selfdistill.ntk._inputs import Arguments, count_of
from selfdistill.ntk._network import Network

_ALONE = threading.RLock()  # one thread at a time exchanges torch's function


class Projection(nn.Linear):
    """A Linear layer that is never called: `torch.nn.MultiheadAttention` multiplies by its weight itself."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__(1, 1, bias=False, device="meta")
        self.out_features, self.in_features = weight.shape
        self.weight = weight
        self.register_parameter("bias", bias)


def projections(model: nn.Module) -> dict[str, Projection]:
    """Find the projections of attention layers whose inputs have the width of their outputs."""
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.MultiheadAttention):
            continue
        held = dict(module.named_parameters(remove_duplicate=False))
        for local, weight, bias in (
            ("in_proj", "in_proj_weight", "in_proj_bias"),
            ("out_proj", "out_proj.weight", "out_proj.bias"),
        ):
            if weight in held:
                found[f"{name}.{local}".lstrip(".")] = Projection(held[weight], held.get(bias))
    return found


@contextmanager
def linear_calls(tell: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Generator[None]:
    """Watch `torch.nn.functional.linear`, by which attention projects."""
    with _ALONE:
        original = functional.linear

        def watched(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            return tell(input, weight, original(input, weight, bias))

        functional.linear = watched
        try:
            yield
        finally:
            functional.linear = original


class Call(NamedTuple):
    """One use of a layer in a forward pass."""

    module: str  # the layer's name in the network
    x: Tensor  # its input, detached
    out: Tensor  # its output, a node of the graph


class Recorder:
    """Runs a network and records the calls of some of its layers."""

    # Only activations are differentiated: what comes out of the first layer is made to need a gradient, parameters are
    # not. A network that changes activations in place (ReLU(inplace=True), x += y) is noticed by their version
    # counters, and then run on copies. Calls under no_grad are not recorded: nothing flows back through them.

    def __init__(self, network: Network, layers: dict[str, nn.Module], unbatched: Collection[str] = ()) -> None:
        self.network, self.layers, self._unbatched = network, layers, unbatched
        self._copy = False
        self._calls: list[Call] = []
        self._versions: list[tuple[int, int]] = []
        self.passes = 0  # how often the network was run

    def run(self, args: Arguments) -> tuple[Tensor, list[Call]]:
        """Run the network forward."""
        before = self.network.traces()
        rows, changed = self._once(args)
        if changed and not self._copy:
            self._copy = True
            if before is not None:
                before.restore()
            rows, _ = self._once(args)
        calls, self._calls = self._calls, []
        return rows, calls

    def _once(self, args: Arguments) -> tuple[Tensor, bool]:
        self.passes += 1
        self._calls, self._versions = [], []
        m, copies = count_of(args), {}
        for name, layer in self.layers.items():
            if isinstance(layer, Copies):
                parameter = name.removeprefix(COPY)
                copy = layer.of(self.network.value(parameter), m)
                copies[parameter] = self._note(name, copy, copy.detach().requires_grad_(True))
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            self._watch(stack, m)
            rows = self.network.rows(args, copies or None, alone=False)
        seen = [(call.x._version, call.out._version) for call in self._calls]
        return rows, seen != self._versions

    def _watch(self, stack: ExitStack, m: int) -> None:
        """Listen to the layers for the length of a pass."""
        weights: dict[int, str] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Projection):
                weights[id(layer.weight)] = name
            elif not isinstance(layer, Copies):
                hook = layer.register_forward_hook(self._listen(name, m), prepend=True, with_kwargs=True)
                stack.callback(hook.remove)

        def projected(x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
            name = weights.get(id(weight))
            if name is None or out.shape[:-1].numel() % m:
                return out
            inner, outer = (v.view(-1, m, v.shape[-1]).transpose(0, 1) for v in (x, out))  # tokens come first there
            return self._note(name, inner, outer).transpose(0, 1).reshape(out.shape)

        if weights:
            stack.enter_context(linear_calls(projected))

    def _listen(self, name: str, m: int) -> Callable[..., Any]:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
            x = given[0] if given else next(iter(named.values()), None)
            if not isinstance(out, Tensor) or not isinstance(x, Tensor) or not torch.is_grad_enabled():
                return None
            if name in self._unbatched:
                x, out = expanded(x, out, m)
            return self._note(name, x, out)

        return hook

    def _note(self, name: str, x: Tensor, out: Tensor) -> Tensor:
        """Keep a call, and give what is to be taken for its output."""
        x = x.detach().clone() if self._copy else x.detach()
        if not out.requires_grad:  # the first: made a sum, not a leaf, whose numbers nothing holds
            out = out + torch.zeros((), dtype=out.dtype, device=out.device, requires_grad=True)
        self._calls.append(Call(name, x, out))
        self._versions.append((x._version, out._version))
        return out.clone() if self._copy else out
