"""From a network to the spectrum of its kernel, dense where the examples are few."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from selfdistill._core.dist import world
from selfdistill.air._snapshot import Kernel
from selfdistill.ntk import NTK
from selfdistill.theory import Spectrum

__all__ = ["DENSE", "network_kernel"]

DENSE = 3000
"""Examples up to which all eigenpairs are computed, in about 9 n³ FLOPs, rather than the leading ones."""


def network_kernel(
    output: str = "trace",
    rank: int | None = None,
    memory: str = "2GiB",
    progress: bool | None = False,
    labels: Tensor | None = None,
) -> Kernel:
    """Make the function that takes spectra, see `selfdistill.ntk.NTK`.

    Args:
        output: "trace", "sum", "centered" or "fisher".
        rank: Leading pairs; if left out, all of at most `DENSE` examples whose matrix fits the memory, else 200.
        memory: Budget.
        progress: Whether cost and a bar are shown on stderr; ``None``: on a terminal.
        labels: Label matrix ``[n, C]`` to start the search for leading pairs from.

    Returns:
        From a network and inputs to a spectrum.

    Example:
        >>> import torch
        >>> network_kernel()(nn.Linear(3, 2), torch.randn(5, 3)).complete
        True
    """

    def take(model: nn.Module, inputs: Tensor) -> Spectrum:
        n = len(inputs)
        operator = NTK(
            model,
            inputs,
            output=cast("Literal['trace', 'sum', 'centered', 'fisher']", output),
            memory=memory,
            progress=progress,
        )
        if n <= DENSE and operator.plan.matrix is not None:
            count = None if rank is None else min(rank, n)
            if world() > 1:  # each process has its rows of the matrix only
                return operator.eigh(count)
            return Spectrum.of(operator.matrix(), k=count)
        return operator.eigh(min(rank or 200, n), labels=labels)

    return take
