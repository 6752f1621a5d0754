"""nngeometry 0.4, ``GramMatrix`` in its dense form: all pairs of outputs, [C, n, C, n]."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
import torch
from nngeometry import GramMatrix
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.ntk_peers.torch_networks import load

WARM = 64


def versions() -> dict[str, str]:
    """What ran."""
    return {"nngeometry": metadata.version("nngeometry"), "torch": str(torch.__version__)}


def build(network: str, named: dict[str, np.ndarray], x: np.ndarray, output: str, options: dict[str, Any]) -> Any:
    """Return what to call before and during the measurement."""
    torch.set_num_threads(int(options.get("threads", 1)))
    inputs = torch.from_numpy(x).to(options["device"])
    model = load(network, named, inputs.dtype, options["device"])
    batch = int(options.get("batch", 250))

    def function(*d: torch.Tensor) -> torch.Tensor:
        out = model(d[0])
        return out.sum(1, keepdim=True) if output == "sum" else out

    def kernel(rows: torch.Tensor) -> np.ndarray:
        loader = DataLoader(TensorDataset(rows, torch.zeros(len(rows))), batch_size=batch)
        k = GramMatrix(model, loader, function=function).data
        if output == "full":
            return k.permute(1, 3, 0, 2).numpy()
        return torch.einsum("cncm->nm", k).numpy()

    return (lambda: kernel(inputs[:WARM])), (lambda: kernel(inputs))
