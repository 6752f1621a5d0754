"""How many labels look wrong, by the directions that are learned last; told only where these hold noise and no more."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill.air._stopping import label_noise_variance, wrong_share
from selfdistill.theory import Spectrum

__all__ = ["NoiseShare", "noise_share", "tail_fall"]

_FLAT = 1.3  # of the fall, above which nothing supports a share
_BELOW, _ABOVE = 0.17, 0.14  # by how much the truth may lie below and above it: the largest errors of 36 runs


class NoiseShare(NamedTuple):
    """A share of wrong labels with a range.

    Attributes:
        share: By `wrong_share`.
        low: In none of the runs that the range was made from was the true share below this.
        high: Nor was it above this in any.
    """

    share: float
    low: float
    high: float


def tail_fall(spectrum: Spectrum, residual: Tensor) -> float | None:
    r"""Say how far the label energy falls over the later directions.

    Even noise has the same energy in all directions; labels that follow from the inputs, right or wrong, have more in
    earlier ones. The fall is the mean energy per direction in the second fifth of the directions over that in the last.

    Args:
        spectrum: Eigenpairs.
        residual: Given labels less the starting outputs, ``[n, C]``.

    Returns:
        About 1 for even noise, more for structure; ``None`` where pairs are missing or fewer than 5.

    Example:
        >>> spectrum = Spectrum.of(torch.diag(torch.arange(10.0, 0.0, -1.0)))
        >>> tail_fall(spectrum, torch.tensor([9.0, 8, 2, 2, 1, 1, 1, 1, 1, 1])[:, None])
        4.0
    """
    if not spectrum.complete or spectrum.size < 5:
        return None
    energy = spectrum.coefficients(torch.as_tensor(residual).double()).square().sum(1)
    parts = [float(part.mean()) for part in energy.tensor_split(5)]
    return parts[1] / max(parts[4], 1e-300)


def noise_share(spectrum: Spectrum, residual: Tensor, classes: int) -> NoiseShare | None:
    """Estimate the share of wrong labels, unless nothing supports an estimate.

    Errors that follow from the inputs, such as those of labelling rules, lie in leading directions like right labels:
    the last directions then hold little energy and would tell few errors where there are many. There the energy keeps
    falling, and no share is told.

    Args:
        spectrum: Eigenpairs.
        residual: Given labels less the starting outputs, ``[n, C]``.
        classes: C.

    Returns:
        The share with its range; ``None`` where the energy falls by more than 1.3, or pairs are missing.

    References:
        ``docs/decisions/0021-the-median-of-six-stopping-epochs.md``, ``0027-a-wider-range-of-wrong-labels.md``.

    Example:
        >>> noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) / 8
        >>> found = noise_share(Spectrum.of(torch.diag(torch.arange(400.0, 0.0, -1.0))), noise, 2)
        >>> [round(value, 2) for value in found]
        [0.02, 0.0, 0.16]
    """
    fall = tail_fall(spectrum, residual)
    if fall is None or fall > _FLAT:
        return None
    share = wrong_share(label_noise_variance(spectrum, residual), classes)
    return NoiseShare(share, max(share - _BELOW, 0.0), min(share + _ABOVE, 1.0))
