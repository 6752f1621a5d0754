"""Per-sample gradients of any parameter of any module: differentiate the whole network for each example."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["PerSample"]


class PerSample:
    """Gradients of the directions with respect to chosen parameters, by ``vmap`` where it can, else one by one.

    A shared parameter has one name, and its gradient is the sum over its uses.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.looped = False

    def __call__(
        self,
        args: tuple[Tensor, ...],
        kwargs: dict[str, Tensor],
        directions: Callable[[Tensor], Tensor],
        names: list[str],
    ) -> dict[str, Tensor]:
        """Compute the gradients of a chunk.

        Args:
            args: Positional arguments of the network, ``[m, ...]`` each.
            kwargs: Named arguments.
            directions: Logits ``[m, C]`` to directions ``[m, R, C]``.
            names: Which parameters.

        Returns:
            ``[m, R, *shape]`` for each name. Cost: a forward and R backward passes through the whole network.
        """
        values = {n: p.detach() for n, p in self.model.named_parameters()}
        chosen = {n: values.pop(n) for n in names}

        def one(chosen: dict[str, Tensor], a: tuple[Tensor, ...], k: dict[str, Tensor]) -> dict[str, Tensor]:
            def logits(parameters: dict[str, Tensor]) -> Tensor:
                alone = tuple(v[None] for v in a), {key: v[None] for key, v in k.items()}
                return self._call({**values, **parameters}, *alone)[0]

            out, pull = vjp(logits, chosen)[:2]
            found: dict[str, Tensor] = vmap(lambda v: pull(v)[0])(directions(out[None])[0])
            return found

        if not self.looped:
            try:
                with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # fused attention has no batching rule
                    warnings.filterwarnings("ignore", "There is a performance drop")
                    stacked: dict[str, Tensor] = vmap(one, in_dims=(None, 0, 0))(chosen, args, kwargs)
                return {n: stacked[n].detach() for n in names}
            except RuntimeError:
                self.looped = True  # an operation without a batching rule, or control flow that looks at values
        return self._loop(args, kwargs, directions, names)

    def _call(self, parameters: dict[str, Tensor], args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Tensor:
        out: Tensor = functional_call(self.model, parameters, args, kwargs)
        return out

    def _loop(
        self,
        args: tuple[Tensor, ...],
        kwargs: dict[str, Tensor],
        directions: Callable[[Tensor], Tensor],
        names: list[str],
    ) -> dict[str, Tensor]:
        rows: dict[str, list[Tensor]] = {n: [] for n in names}
        for i in range(len([*args, *kwargs.values()][0])):
            values = {n: p.detach() for n, p in self.model.named_parameters()}
            chosen = {n: values[n].clone().requires_grad_(True) for n in names}
            with torch.enable_grad():
                alone = tuple(v[i : i + 1] for v in args), {k: v[i : i + 1] for k, v in kwargs.items()}
                out = self._call({**values, **chosen}, *alone)
                wanted = directions(out.detach())[0]
                found = [
                    torch.autograd.grad(out, list(chosen.values()), v[None], retain_graph=True, allow_unused=True)
                    for v in wanted
                ]
            for column, (name, p) in enumerate(chosen.items()):
                grads = [row[column] if row[column] is not None else torch.zeros_like(p) for row in found]
                rows[name].append(torch.stack([v.to_dense() if v.is_sparse else v for v in grads]).detach())
        return {n: torch.stack(v) for n, v in rows.items()}
