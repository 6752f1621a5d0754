"""Top eigenpairs by block Krylov within a memory budget, at several n, against the exact ones of the matrix."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.ntk_peers import problems
from benchmarks.ntk_peers.driver import Place, write

K = 20


def run(place: Place, network: str, sizes: list[int], memory: str, *, exact: bool) -> None:
    """Measure the spectrum at each size, each in its own process."""
    place.work.mkdir(parents=True, exist_ok=True)
    for n in sizes:
        problem = problems.stored(place.work, network, n)
        common = {"method": "spectrum", "network": network, "n": n, "dtype": "float32", "problem": str(problem)}
        record: dict[str, Any] = {"suite": "spectrum", "network": network, "n": n, "k": K, "memory": memory}
        record["device"] = place.device
        out = place.work / f"spectrum-{network}-{n}.npy"
        options = {"memory": memory, "k": K}
        results, wrong = place.start([{**common, "output": "sum", "options": options, "out": str(out)}])
        if wrong or not results:
            write(record | {"failed": wrong or "no result"})
            print(n, wrong)
            continue
        record |= results[0]
        values, residuals = np.load(out, allow_pickle=False)
        record["largest_bound"] = float(np.max(residuals / values))
        if exact:
            reference = place.work / f"exact-{network}-{n}.npy"
            truth = {"memory": "8GiB", "k": K, "exact": 1}
            found, wrong = place.start([{**common, "output": "sum", "options": truth, "out": str(reference)}])
            if found:
                a, b = (np.load(p, allow_pickle=False)[0] for p in (out, reference))
                record["exact_cpu_s"] = found[0]["cpu_s"]
                record["largest_relative_error"] = float(np.max(np.abs(a - b) / b))
            else:
                record["exact_failed"] = wrong
        print(
            json.dumps({k: record[k] for k in ("n", "cpu_s", "extra_bytes", "largest_relative_error") if k in record})
        )
        write(record)


# -- in the process that measures -----------------------------------------------------------------------------------

_facts: dict[str, Any] = {}


def versions() -> dict[str, str]:
    """What ran."""
    import torch

    return {"torch": str(torch.__version__)}


def build(network: str, named: dict[str, np.ndarray], x: np.ndarray, output: str, options: dict[str, Any]) -> Any:
    """Return what to call before and during the measurement: the eigenvalues and residual bounds, ``[2, k]``."""
    import torch

    from benchmarks.ntk_peers.torch_networks import load
    from selfdistill.ntk import NTK

    torch.set_num_threads(int(options.get("threads", 1)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    inputs = torch.from_numpy(x).to(options["device"])
    model = load(network, named, inputs.dtype, options["device"])

    def spectrum(rows: torch.Tensor) -> np.ndarray:
        ntk = NTK(model, rows, output=output, memory=options["memory"], progress=False)
        k = min(int(options["k"]), len(rows))
        if options.get("exact"):
            from scipy.sparse.linalg import eigsh

            matrix = ntk.matrix().double().cpu().numpy()
            values = eigsh(matrix, k, tol=1e-10, return_eigenvectors=False)[::-1] if k < len(rows) else np.ones(k)
            return np.stack([values, np.zeros(k)])
        passes: list[int] = []
        counted = ntk.matmat

        def count(block: Any) -> torch.Tensor:
            passes.append(block.shape[1])
            return counted(block)

        vars(ntk)["matmat"] = count
        found = ntk.eigh(k)
        product = ntk.plan.product
        _facts.update(passes=len(passes), columns=sum(passes), trace=found.trace)
        if product is not None:
            _facts.update(product_flops=product.flops, product_bytes=product.bytes, product_sweeps=product.sweeps)
        return np.stack([found.values.numpy(), found.residuals.numpy()])

    return (lambda: spectrum(inputs[:8])), (lambda: spectrum(inputs))


def extra() -> dict[str, Any]:
    """Passes over the data and the forecast of one."""
    return dict(_facts)
