"""How much of a label matrix the leading eigenvectors of a kernel hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.air._interval import Interval
from selfdistill.air._labels import centred, one_hot
from selfdistill.theory import Spectrum

__all__ = ["RandomEnergy", "captured", "checked_ranks", "information_gap", "random_captured"]


class RandomEnergy(NamedTuple):
    """What leading directions hold of labels that know nothing of the inputs.

    Attributes:
        expected: Its expectation at each rank, ``[r]``.
        mean: Mean over the draws, ``[r]``.
        std: Standard deviation over the draws, ``[r]``.
        low: Least of the draws, ``[r]``.
        high: Greatest, ``[r]``.
    """

    expected: Tensor
    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor


def checked_ranks(spectrum: Spectrum, ranks: Sequence[int]) -> list[int]:
    """Refuse ranks that the kernel does not have.

    Args:
        spectrum: Of n examples.
        ranks: Whole numbers.

    Returns:
        The same as a list.

    Raises:
        SettingError: None given, or one outside 1 to n.

    Example:
        >>> checked_ranks(Spectrum.of(torch.eye(3)), (1, 3))
        [1, 3]
    """
    wrong = [k for k in ranks if not 1 <= k <= spectrum.size]
    if wrong or not ranks:
        raise SettingError(
            f"rank {wrong[0] if wrong else '(none)'} for a kernel of {spectrum.size} examples",
            f"Give ranks from 1 to {spectrum.size}.",
        )
    return list(ranks)


def captured(spectrum: Spectrum, z: Tensor, ranks: Sequence[int]) -> Interval:
    r"""Share of the energy of z in the top k directions.

    .. math:: E_k(z) = \sum_{i \le k} \|v_i^\top z\|^2 / \|z\|^2

    z is taken as it is: centre its columns first (`centred`), or the constant direction, which leads the spectrum of
    most networks, holds most of it.

    Args:
        spectrum: Eigenpairs.
        z: ``[n]`` or ``[n, c]``.
        ranks: Each k.

    Returns:
        E at each rank, ``[r]``. Beyond the pairs at hand it lies between what those hold and 1.

    Raises:
        DataError: z is zero: its energy has no shares.

    Example:
        >>> captured(Spectrum.of(torch.diag(torch.tensor([2.0, 1.0]))), torch.tensor([3.0, 4.0]), [1, 2]).low.tolist()
        [0.36, 1.0]
    """
    ranks = checked_ranks(spectrum, ranks)
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    whole = float(z.square().sum())
    if whole <= 0:
        raise DataError("the labels have no energy: after centring they are constant", "Give labels that differ.")
    shares = (spectrum.coefficients(z).square().sum(1).cumsum(0) / whole).clamp(max=1)
    have = len(shares)
    low = torch.stack([shares[min(k, have) - 1] for k in ranks])
    open_ = torch.tensor([k > have for k in ranks])
    high = torch.where(open_, 1.0, low)
    full = torch.tensor([k == spectrum.size for k in ranks])
    return Interval(torch.where(full, high.clamp(min=1.0), low), torch.where(full, 1.0, high))


def random_captured(
    spectrum: Spectrum, labels: Tensor, classes: int, ranks: Sequence[int], *, draws: int = 20, seed: int = 0
) -> RandomEnergy:
    r"""What top directions hold of labels dealt out anew at random, the class counts kept.

    For centred labels the expectation is exact,

    .. math:: E[E_k] = \frac{k - \sum_{i \le k} (v_i^\top 1)^2 / n}{n - 1},

    about k/n; the spread is measured.

    Args:
        spectrum: Eigenpairs.
        labels: Any label vector with the counts to keep, int64 ``[n]``.
        classes: C.
        ranks: Each k; none above the pairs at hand is sampled, their entries are NaN except ``expected`` at n.
        draws: Permutations.
        seed: Seed of the draws.

    Returns:
        Expectation and spread at each rank.

    Example:
        >>> found = random_captured(Spectrum.of(torch.eye(4)), torch.tensor([0, 0, 1, 1]), 2, [2], draws=50)
        >>> bool(abs(found.expected[0] - 0.5) < 1e-9)
        True
    """
    ranks = checked_ranks(spectrum, ranks)
    z = centred(one_hot(labels, classes))
    whole, n, have = z.square().sum(), spectrum.size, len(spectrum.values)
    on_constant = spectrum.vectors.sum(0).square().cumsum(0) / n
    index = torch.tensor([min(k, have) - 1 for k in ranks])
    nan = torch.tensor([k > have for k in ranks])
    generator = torch_generator(seed, "air", "random labels")
    shares = []
    for _ in range(draws):
        mixed = z[torch.randperm(n, generator=generator)]
        shares.append((spectrum.vectors.T @ mixed).square().sum(1).cumsum(0)[index] / whole)
    found = torch.stack(shares).masked_fill(nan, torch.nan)
    expected = ((torch.tensor(ranks) - on_constant[index]) / (n - 1)).masked_fill(nan, torch.nan)
    spread = found.std(0) if draws > 1 else torch.zeros(len(ranks), dtype=torch.float64)
    return RandomEnergy(expected, found.mean(0), spread, found.amin(0), found.amax(0))


def information_gap(spectrum: Spectrum, clean: Tensor, noise: Tensor, ranks: Sequence[int]) -> Interval:
    r"""Lead of the signal over the noise, :math:`E_k(Y) - E_k(\xi)`.

    Args:
        spectrum: Eigenpairs.
        clean: Centred clean labels, ``[n, C]``.
        noise: The noise, ``[n, C]``, see `noise_part`.
        ranks: Each k.

    Returns:
        The gap at each rank, ``[r]``, between -1 and 1; 0 at k = n.

    Example:
        >>> spectrum = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0])))
        >>> information_gap(spectrum, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), [1]).low.tolist()
        [1.0]
    """
    signal, rest = captured(spectrum, clean, ranks), captured(spectrum, noise, ranks)
    return Interval(signal.low - rest.high, signal.high - rest.low)
