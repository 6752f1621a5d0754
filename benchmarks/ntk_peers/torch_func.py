"""torch.func: per-sample gradients in chunks and ``J @ J.T``, or the layerwise contraction of the PyTorch tutorial."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.ntk_peers.torch_networks import load

CHUNK, WARM = 100, 64


def versions() -> dict[str, str]:
    """What ran."""
    return {"torch": str(torch.__version__)}


def build(network: str, named: dict[str, np.ndarray], x: np.ndarray, output: str, options: dict[str, Any]) -> Any:
    """Return what to call before and during the measurement."""
    torch.set_num_threads(int(options.get("threads", 1)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    inputs = torch.from_numpy(x).to(options["device"])
    dtype = next(torch.from_numpy(v[:0]).dtype for v in (*named.values(), x) if v.dtype.kind == "f")
    model = load(network, named, dtype, options["device"])
    params = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def logits(values: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return functional_call(model, (values, buffers), (one[None],))[0]

    if output == "sum":
        rows = vmap(grad(lambda values, one: logits(values, one).sum()), (None, 0))
    else:
        rows = vmap(jacrev(logits), (None, 0))
    compute = _tutorial if options["method"] == "torch.func-tutorial" else _product

    def kernel(x: torch.Tensor) -> np.ndarray:
        with sdpa_kernel(SDPBackend.MATH):  # the fused form has no batching rule
            return compute(rows, params, x, output, int(options.get("chunk", CHUNK))).cpu().numpy()

    return (lambda: kernel(inputs[:WARM])), (lambda: kernel(inputs))


def _product(rows: Any, params: dict[str, torch.Tensor], x: torch.Tensor, output: str, chunk: int) -> torch.Tensor:
    """Fill J chunk by chunk, then one product."""
    j = None
    for start in range(0, len(x), chunk):
        part = rows(params, x[start : start + chunk])
        if output == "sum":
            part = {name: g[:, None] for name, g in part.items()}
        flat = [g.flatten(2) for g in part.values()]
        if j is None:
            j = flat[0].new_empty(len(x), flat[0].shape[1], sum(g.shape[2] for g in flat))
        torch.cat(flat, 2, out=j[start : start + len(flat[0])])
        del part, flat
    assert j is not None
    n, r, _ = j.shape
    if output == "full":
        return (j.flatten(0, 1) @ j.flatten(0, 1).T).view(n, r, n, r).transpose(1, 2)
    return j.flatten(1) @ j.flatten(1).T


def _tutorial(rows: Any, params: dict[str, torch.Tensor], x: torch.Tensor, output: str, chunk: int) -> torch.Tensor:
    """As in PyTorch's tutorial "Neural Tangent Kernels": one Jacobian of all, einsum by parameter, sum."""
    found = [j.flatten(2 if output != "sum" else 1) for j in rows(params, x).values()]
    einsum = {"full": "Naf,Mbf->NMab", "trace": "Naf,Maf->NM", "sum": "Nf,Mf->NM"}[output]
    return torch.stack([torch.einsum(einsum, j, j) for j in found]).sum(0)
