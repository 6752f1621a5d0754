"""Watch a forward pass: what goes into each layer and what comes out, kept in reach of the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfdistill.ntk._inputs import Arguments
from selfdistill.ntk._network import Network

__all__ = ["Call", "Recorder"]


class Call(NamedTuple):
    """One use of a layer in a forward pass.

    Attributes:
        module: The layer's name in the network.
        x: Its input, detached.
        out: Its output, a node of the graph.
    """

    module: str
    x: Tensor
    out: Tensor


class Recorder:
    """Runs a network and records the calls of some of its layers.

    Only activations are differentiated: what comes out of the first layer is made to need a gradient, parameters are
    not. A network that changes activations in place (``ReLU(inplace=True)``, ``x += y``) is noticed by their version
    counters, and then run on copies. Calls under ``no_grad`` are not recorded: nothing flows back through them.

    Args:
        network: The network.
        modules: Layers to record, by name.

    Attributes:
        passes: How often the network was run.
    """

    def __init__(self, network: Network, modules: dict[str, nn.Module]) -> None:
        self.network, self.modules = network, modules
        self._copy = False
        self.passes = 0

    def run(self, args: Arguments) -> tuple[Tensor, list[Call]]:
        """Run the network forward.

        Args:
            args: Positional and named arguments.

        Returns:
            Outputs ``[m, C]`` with their graph, and the calls in the order they happened.
        """
        before = self.network.traces()
        rows, calls, changed = self._once(args)
        if changed and not self._copy:
            self._copy = True
            if before is not None:
                before.restore()
            rows, calls, _ = self._once(args)
        return rows, calls

    def _once(self, args: Arguments) -> tuple[Tensor, list[Call], bool]:
        self.passes += 1
        calls: list[Call] = []
        versions: list[tuple[int, int]] = []

        def listen(name: str) -> Callable[..., Any]:
            def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
                x = given[0] if given else next(iter(named.values()), None)
                if not isinstance(out, Tensor) or not isinstance(x, Tensor) or not torch.is_grad_enabled():
                    return None
                x = x.detach().clone() if self._copy else x.detach()
                if not out.requires_grad:  # the first: made a sum, not a leaf, whose numbers nothing holds
                    out = out + torch.zeros((), dtype=out.dtype, device=out.device, requires_grad=True)
                calls.append(Call(name, x, out))
                versions.append((x._version, out._version))
                return out.clone() if self._copy else out

            return hook

        handles = [
            module.register_forward_hook(listen(name), prepend=True, with_kwargs=True)
            for name, module in self.modules.items()
        ]
        try:
            with torch.enable_grad():
                rows = self.network.rows(args)
        finally:
            for handle in handles:
                handle.remove()
        seen = [(call.x._version, call.out._version) for call in calls]
        return rows, calls, seen != versions
