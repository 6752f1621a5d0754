"""selfdistill.ntk.NTK: the matrix, the operator applied to the identity, or the matrix without layers' rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.ntk_peers.torch_networks import load
from selfdistill import _version
from selfdistill.ntk import NTK

WARM = 64
_last: list[NTK] = []


def versions() -> dict[str, str]:
    """What ran."""
    return {"selfdistill": _version.__version__, "torch": str(torch.__version__)}


def build(network: str, named: dict[str, np.ndarray], x: np.ndarray, output: str, options: dict[str, Any]) -> Any:
    """Return what to call before and during the measurement."""
    torch.set_num_threads(int(options.get("threads", 1)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device, method = options["device"], options["method"]
    inputs = torch.from_numpy(x).to(device)
    dtype = next(torch.from_numpy(v[:0]).dtype for v in (*named.values(), x) if v.dtype.kind == "f")
    model = load(network, named, dtype, device)
    memory = options.get("memory", "2GiB")

    def kernel(rows: torch.Tensor) -> np.ndarray:
        ntk = NTK(model, rows, output=output, memory=memory, rules=method != "ours-fallback", progress=False)
        identity = torch.eye(ntk.shape[1], dtype=ntk.dtype, device=device) if method == "ours-operator" else None
        k = ntk.matrix() if identity is None else ntk @ identity
        _last[:] = [ntk]
        k = k.cpu()
        n, c = len(rows), ntk.shape[0] // len(rows)
        return k.view(n, c, n, c).transpose(1, 2).numpy() if output == "full" else k.numpy()

    return (lambda: kernel(inputs[:WARM])), (lambda: kernel(inputs))


def extra() -> dict[str, Any]:
    """The forecast of the kernel."""
    cost = _last[0].plan.matrix
    return {} if cost is None else {"forecast": {"flops": cost.flops, "bytes": cost.bytes, "sweeps": cost.sweeps}}
