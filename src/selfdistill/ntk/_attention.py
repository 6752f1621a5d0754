"""The projections of torch's attention, which are no calls of a layer, seen as Linear layers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Projection", "linear_calls", "projections"]

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
