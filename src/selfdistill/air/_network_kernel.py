"""From a network to the spectrum of its kernel, dense where the examples are few."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from selfdistill.air._snapshot import Kernel
from selfdistill.ntk import NTK, Spectrum

__all__ = ["DENSE", "network_kernel"]

DENSE = 3000
"""Examples up to which all eigenpairs are computed, in about 9 n³ FLOPs, rather than the leading ones."""


def network_kernel(
    output: str = "trace",
    rank: int | None = None,
    memory: str = "2GiB",
    progress: Callable[[float], None] | None = None,
    labels: Tensor | None = None,
) -> Kernel:
    """Make the function that takes spectra, see `selfdistill.ntk.NTK`.

    Args:
        output: "trace", "sum", "centered" or "fisher".
        rank: Leading pairs; all if left out and there are at most `DENSE` examples, else 200.
        memory: Budget.
        progress: Told the share done.
        labels: Label matrix ``[n, C]`` to start the search for leading pairs from.

    Returns:
        From a network and inputs to a spectrum.
    """

    def take(model: nn.Module, inputs: Tensor) -> Spectrum:
        operator = NTK(model, inputs, output=output, memory=memory, progress=progress)
        if len(inputs) <= DENSE:
            return Spectrum.of(operator.matrix(), k=None if rank is None else min(rank, len(inputs)))
        return operator.eigh(min(rank or 200, len(inputs)), labels=labels)

    return take
