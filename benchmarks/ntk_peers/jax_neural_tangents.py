"""neural-tangents 0.6.5 in its best layouts: NHWC and HWIO for the CNN, weights (in, out) and ``x @ w`` for the MLP.

Runs in its own environment (jax 0.4.23). The layout matters: ``x @ w.T`` silently switches off the structured
derivatives. The networks are in `jax_networks`. neural-tangents divides by the number of outputs on traced axes; the
kernels here are multiplied back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import neural_tangents as nt

from benchmarks.ntk_peers.jax_networks import NETWORKS, convert
from benchmarks.ntk_peers.problems import CLASSES

WARM = 64
_facts: dict[str, float] = {}


def versions() -> dict[str, str]:
    """What ran."""
    return {"neural-tangents": nt.__version__, "jax": jax.__version__, "numpy": np.__version__}


class Kernel:
    """A kernel to be computed: ``warm`` compiles for the very shapes, ``run`` computes."""

    def __init__(
        self, network: str, named: dict[str, np.ndarray], x: np.ndarray, output: str, options: dict[str, Any]
    ) -> None:
        if x.dtype == np.float64:
            jax.config.update("jax_enable_x64", True)
        self.output = output
        self.params, constants = convert(named)
        self.x = jnp.asarray(np.moveaxis(x, 1, -1) if x.ndim == 4 else x)

        def apply(params: dict[str, Any], inputs: Any) -> Any:
            return NETWORKS[network]({**params, **constants}, inputs)

        f = (lambda p, inputs: apply(p, inputs).sum(-1, keepdims=True)) if output == "sum" else apply
        default = 3 if network == "mlp" else 1
        kernel = nt.empirical_ntk_fn(
            f,
            trace_axes=() if output == "full" else (-1,),
            vmap_axes=0 if options.get("vmap", 1) else None,
            implementation=int(options.get("implementation", default)),
        )
        self.block = int(options.get("block", 0))
        self.function = nt.batch(kernel, batch_size=self.block, device_count=0) if self.block else jax.jit(kernel)

    def warm(self) -> None:
        """Compute a few inputs' kernel, as the others do; then compile for the very shapes, without computing."""
        part = self.x[: self.block or WARM]
        jax.block_until_ready(self.function(part, part if self.block else None, self.params))
        if not self.block:
            started = time.process_time()
            self.function = self.function.lower(self.x, None, self.params).compile()
            _facts["compile_cpu_s"] = time.process_time() - started

    def run(self) -> np.ndarray:
        """Compute the kernel: [n, n], or [n, n, outputs, outputs] if full."""
        second = self.x if self.block else None
        k = self.function(self.x, second, self.params)
        if self.output == "trace":
            k = k * CLASSES
        return np.asarray(jax.block_until_ready(k))


def build(*arguments: Any) -> tuple[Callable[[], None], Callable[[], np.ndarray]]:
    """Return what to call before and during the measurement."""
    kernel = Kernel(*arguments)
    return kernel.warm, kernel.run


def extra() -> dict[str, float]:
    """Seconds to compile."""
    return dict(_facts)
