"""Watch a forward pass: what goes into each layer and what comes out, kept in reach of the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError

__all__ = ["Call", "Recorder", "full_precision"]


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
    counters, and then run on copies.

    Args:
        model: The network.
        modules: Layers to record, by name.

    Attributes:
        passes: How often the network was run.
    """

    def __init__(self, model: nn.Module, modules: dict[str, nn.Module]) -> None:
        self.model, self.modules = model, modules
        self._copy = False
        self.passes = 0

    def run(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> tuple[Tensor, list[Call]]:
        """Run the network forward.

        Args:
            args: Positional arguments.
            kwargs: Named arguments.

        Returns:
            Logits ``[m, C]`` with their graph, and the calls in the order they happened.
        """
        logits, calls, changed = self._once(args, kwargs)
        if changed and not self._copy:
            self._copy = True
            logits, calls, _ = self._once(args, kwargs)
        return logits, calls

    def _once(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> tuple[Tensor, list[Call], bool]:
        self.passes += 1
        calls: list[Call] = []
        versions: list[tuple[int, int]] = []

        def listen(name: str) -> Callable[..., Any]:
            def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> Any:
                x = given[0] if given else next(iter(named.values()))
                if not isinstance(out, Tensor) or not isinstance(x, Tensor):
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
                logits = checked_logits(self.model(*args, **kwargs), args, kwargs)
        finally:
            for handle in handles:
                handle.remove()
        seen = [(call.x._version, call.out._version) for call in calls]
        return logits, calls, seen != versions


def checked_logits(logits: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Tensor:
    """Return what a network gave if it is one row of outputs for each example.

    Raises:
        DataError: Anything else, or outputs that are not finite.
    """
    m = len([*args, *kwargs.values()][0])
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != m:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(
            f"the network returns {found} for {m} examples, but must return [n, classes]",
            "Wrap it in a module that returns the logits alone, one row for each example.",
        )
    if not bool(torch.isfinite(logits).all()):
        raise DataError("the network's outputs are not finite", "Check its weights and the scale of the inputs.")
    return logits


@contextmanager
def full_precision(model: nn.Module) -> Generator[None]:
    """Keep autocast off: kernels are nearly of rank one, and bfloat16 outputs lose all but the first eigenvalue.

    Args:
        model: Says by its parameters which device is meant.

    Yields:
        Nothing.
    """
    device = next((p.device.type for p in model.parameters()), "cpu")
    with torch.autocast(device, enabled=False):
        yield
