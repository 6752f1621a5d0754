"""How many directions a kernel has to speak of: entropy rank, participation ratio, stable rank."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.air._interval import Interval
from selfdistill.theory import Spectrum

__all__ = ["effective_ranks"]


def effective_ranks(spectrum: Spectrum) -> dict[str, Interval]:
    r"""Count the effective directions of a kernel.

    With shares :math:`p_i = \lambda_i / \sum_j \lambda_j`:

    - ``entropy``: :math:`\exp(-\sum_i p_i \ln p_i)` (Roy & Vetterli),
    - ``participation``: :math:`1 / \sum_i p_i^2`,
    - ``stable``: :math:`1 / p_1`, the stable rank :math:`\|J\|_F^2 / \|J\|_2^2` of the Jacobian.

    All three are 1 for a kernel of rank one and n for the identity. Missing eigenvalues are known to lie between 0 and
    the last one at hand and to sum to what the trace leaves: the bounds are those of the most and the least even
    spread of that rest.

    Args:
        spectrum: Eigenpairs.

    Returns:
        The three, as scalars with bounds.

    Raises:
        DataError: The kernel is zero.

    References:
        Roy & Vetterli (2007), The effective rank, EUSIPCO.

    Example:
        >>> found = effective_ranks(Spectrum.of(torch.eye(4)))
        >>> [round(float(rank.low), 6) for rank in found.values()]
        [4.0, 4.0, 4.0]
    """
    values = spectrum.values.clamp(min=0)
    total = max(spectrum.trace, float(values.sum()))
    if total <= 0:
        raise DataError("the kernel is zero: it has no effective rank", "Check network and inputs.")
    p, missing = values / total, spectrum.size - len(values)
    rest = max(1 - float(p.sum()), 0.0) if missing else 0.0
    even, packed = _spread(rest, missing, float(p[-1]))
    entropy, square = float(_entropy(p)), float(p.square().sum())
    return {
        "entropy": _interval(torch.tensor([entropy + float(_entropy(packed)), entropy + float(_entropy(even))]).exp()),
        "participation": _interval(1 / torch.tensor([square + float(packed.square().sum()),
                                                     square + float(even.square().sum())])),
        "stable": _interval(1 / p[:1].repeat(2)),
    }  # fmt: skip


def _spread(rest: float, missing: int, top: float) -> tuple[Tensor, Tensor]:
    """Share ``rest`` among ``missing`` values of at most ``top``: evenly, and as unevenly as can be."""
    even = torch.full((missing,), rest / max(missing, 1), dtype=torch.float64)
    packed = torch.zeros(missing, dtype=torch.float64)
    if rest > 0 and top > 0:
        whole = min(int(rest / top), missing)
        packed[:whole] = top
        if whole < missing:
            packed[whole] = max(rest - whole * top, 0.0)
    return even, packed


def _entropy(p: Tensor) -> Tensor:
    total: Tensor = torch.special.xlogy(p, p).sum()
    return -total


def _interval(bounds: Tensor) -> Interval:
    low, high = bounds.double()
    return Interval(low, torch.maximum(low, high))
