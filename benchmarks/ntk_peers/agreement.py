"""Whether all implementations give the same kernels: relative Frobenius differences from torch.func."""

from __future__ import annotations

from typing import Any

from benchmarks.ntk_peers import problems
from benchmarks.ntk_peers.driver import Place, difference, write
from benchmarks.ntk_peers.suites import PYTHONS

METHODS = ("torch.func", "ours", "ours-operator", "ours-fallback", "neural-tangents", "nngeometry")
OUTPUTS = ("sum", "trace", "full")
SIZES = {"mlp": (8, 24), "cnn": (6, 24), "resnet20": (6, 16), "transformer": (8, 24)}  # in 64 and in 32 bits
CANNOT = {("nngeometry", "transformer"): "no rule for attention"}


def run(place: Place, only: list[str]) -> None:
    """Compute the kernels of networks with each method, and compare."""
    place.work.mkdir(parents=True, exist_ok=True)
    for network in only:
        sizes = SIZES[network]
        for dtype, n in zip(("float64", "float32"), sizes, strict=True):
            for method in METHODS:
                _compare(place, network, dtype, n, method)


def _compare(place: Place, network: str, dtype: str, n: int, method: str) -> None:
    record: dict[str, Any] = {"suite": "agreement", "network": network, "dtype": dtype, "n": n, "method": method}
    if (method, network) in CANNOT or (place.device != "cpu" and method in PYTHONS):
        write(record | {"left_out": CANNOT.get((method, network), "runs on the CPU only")})
        return
    problem = problems.stored(place.work, network, n)

    def path(method: str, output: str) -> Any:
        return place.work / f"agree-{network}-{dtype}-{method}-{output}.npy"

    common = {"network": network, "n": n, "dtype": dtype, "problem": str(problem), "method": method}
    cells = [{**common, "output": output, "out": str(path(method, output))} for output in OUTPUTS]
    results, wrong = place.start(cells)
    if not path("torch.func", OUTPUTS[0]).exists():
        write(record | {"failed": wrong or "no reference"})
        return
    found = {o: difference(path(method, o), path("torch.func", o)) for o, _ in zip(OUTPUTS, results, strict=False)}
    record |= {"difference": found, **({"failed": wrong} if wrong else {"versions": results[0]["versions"]})}
    print(network, dtype, method, {o: f"{v:.1e}" for o, v in found.items()}, wrong, flush=True)
    write(record)
