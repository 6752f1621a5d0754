"""What a kernel's leading directions hold of labels, how fast, how many there are, and how kernels compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill._core.rng import torch_generator
from selfdistill.theory import Spectrum


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Write labels ``[n]`` as rows with a single 1, float64 ``[n, C]``."""
    labels = torch.as_tensor(labels).cpu()
    if labels.ndim != 1 or not len(labels):
        raise DataError(f"labels have shape {tuple(labels.shape)}", "Give one whole number per example, [n].")
    if labels.is_floating_point() or bool(((labels < 0) | (labels >= classes)).any()):
        low, high = labels.min().item(), labels.max().item()
        raise DataError(
            f"labels go from {low} to {high}, but must be whole, 0 to {classes - 1}",
            f"Encode them as 0 to {classes - 1}.",
        )
    return torch.nn.functional.one_hot(labels.long(), classes).double()


def centred(z: Tensor) -> Tensor:
    """Remove the mean of each column: what a constant prediction explains is no retrieved information."""
    z = torch.as_tensor(z).detach().cpu().double()
    return z - z.mean(0)


def transition_counts(given: Tensor, clean: Tensor, classes: int) -> Tensor:
    """Measure ``T[clean, given]`` ``[C, C]`` where both labels are known; a class without examples keeps its label."""
    counts = one_hot(clean, classes).T @ one_hot(given, classes)
    empty = counts.sum(1) == 0
    counts[empty] = torch.eye(classes, dtype=torch.float64)[empty]
    return counts / counts.sum(1, keepdim=True)


def noise_part(given: Tensor, clean: Tensor, classes: int, matrix: Tensor | None = None) -> Tensor:
    r"""Give the part of the given labels that nothing in the clean ones explains.

    .. math:: \xi = \tilde Y - Y T, \qquad E[\xi \mid Y] = 0

    The plain difference :math:`\tilde Y - Y` is no noise alone: for symmetric noise of rate r it contains
    :math:`-\frac{rC}{C-1} Y`, a copy of the signal with the sign turned, which leading directions hold as they hold
    the signal.

    Args:
        given: Given labels, int64 ``[n]``.
        clean: True labels, int64 ``[n]``.
        classes: C.
        matrix: ``T[clean, given]``, ``[C, C]``; measured from the two label vectors if left out, which makes
            :math:`\xi` exactly orthogonal to the clean one-hot columns.

    Returns:
        float64 ``[n, C]``; rows sum to 0.

    Raises:
        DataError: Label vectors of different lengths, or a matrix of another shape.

    Example:
        >>> noise_part(torch.tensor([0, 1]), torch.tensor([0, 0]), 2).tolist()
        [[0.5, -0.5], [-0.5, 0.5]]
    """
    if len(given) != len(clean):
        raise DataError(f"{len(given)} given labels, but {len(clean)} true ones", "Give both for the same examples.")
    matrix = transition_counts(given, clean, classes) if matrix is None else torch.as_tensor(matrix).double()
    if matrix.shape != (classes, classes):
        shape = tuple(matrix.shape)
        raise DataError(f"the transition matrix has shape {shape} for {classes} classes", "Give T[clean, given].")
    return one_hot(given, classes) - one_hot(clean, classes) @ matrix


class RandomEnergy(NamedTuple):
    """What leading directions hold of labels that know nothing of the inputs."""

    expected: Tensor  # its expectation at each rank, ``[r]``
    mean: Tensor  # over the draws, ``[r]``, and so on
    std: Tensor
    low: Tensor
    high: Tensor


def _checked_ranks(spectrum: Spectrum, ranks: Sequence[int]) -> list[int]:
    have = len(spectrum.values)
    wrong = [k for k in ranks if not 1 <= k <= have]
    if wrong or not ranks:
        raise SettingError(
            f"rank {wrong[0] if wrong else '(none)'} for a kernel of {spectrum.size} examples, of which {have} "
            "directions are known",
            f"Give ranks from 1 to {have}.",
        )
    return list(ranks)


def _energy(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return z as columns, and its squared norm, which must be above 0."""
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    whole = z.square().sum()
    if whole <= 0:
        raise DataError("the labels have no energy: after centring they are constant", "Give labels that differ.")
    return z, whole


def captured(spectrum: Spectrum, z: Tensor, ranks: Sequence[int]) -> Tensor:
    r"""Share of the energy of z in the top k directions.

    .. math:: E_k(z) = \sum_{i \le k} \|v_i^\top z\|^2 / \|z\|^2

    z is taken as it is: centre its columns first (``z - z.mean(0)``), or the constant direction, which
    leads the spectrum of most networks, holds most of it.

    Args:
        spectrum: Eigenpairs.
        z: ``[n]`` or ``[n, c]``.
        ranks: Each k, 1 to the number of pairs.

    Returns:
        E at each rank, float64 ``[r]``.

    Raises:
        DataError: z is zero: its energy has no shares.
        SettingError: No rank, or one beyond the pairs at hand.

    Example:
        >>> captured(Spectrum.of(torch.diag(torch.tensor([2.0, 1.0]))), torch.tensor([3.0, 4.0]), [1, 2]).tolist()
        [0.36, 1.0]
    """  # noqa: DOC502 (raised by what is called)
    ranks = _checked_ranks(spectrum, ranks)
    z, whole = _energy(z)
    shares = (spectrum.coefficients(z).square().sum(1).cumsum(0) / float(whole)).clamp(max=1)
    if spectrum.complete:
        shares[-1] = 1.0
    return shares[torch.tensor(ranks) - 1]


def random_captured(
    spectrum: Spectrum, labels: Tensor, classes: int, ranks: Sequence[int], *, draws: int = 20
) -> RandomEnergy:
    """What top directions hold of labels dealt out anew at random ``draws`` times, the class counts kept."""
    # For centred labels the expectation is exact, E[E_k] = (k - sum over i <= k of (v_i 1)² / n) / (n - 1), about k/n;
    # the spread is measured.
    ranks = _checked_ranks(spectrum, ranks)
    z = centred(one_hot(labels, classes))
    whole, n = z.square().sum(), spectrum.size
    on_constant = spectrum.vectors.sum(0).square().cumsum(0) / n
    index = torch.tensor(ranks) - 1
    generator = torch_generator(0, "air", "random labels")
    shares = []
    for _ in range(draws):
        mixed = z[torch.randperm(n, generator=generator)]
        shares.append((spectrum.vectors.T @ mixed).square().sum(1).cumsum(0)[index] / whole)
    drawn = torch.stack(shares)
    expected = (torch.tensor(ranks) - on_constant[index]) / (n - 1)
    spread = drawn.std(0) if draws > 1 else torch.zeros(len(ranks), dtype=torch.float64)
    return RandomEnergy(expected, drawn.mean(0), spread, drawn.amin(0), drawn.amax(0))


def checked_times(times: Tensor | float) -> Tensor:
    """Return times as float64 ``[t]``, having refused negative ones and NaN."""
    times = torch.as_tensor(times, dtype=torch.float64).reshape(-1)
    if not len(times) or bool((~(times >= 0)).any()):
        raise SettingError(f"times are {times.tolist()[:5]}, but must be numbers of at least 0", "Give lr x steps.")
    return times


def learned(values: Tensor, times: Tensor | float) -> Tensor:
    """Share of each direction that gradient flow has learned, 1 - exp(-value time): float64 ``[t, k]``."""
    return -torch.expm1(-checked_times(times)[:, None] * values.double().clamp(min=0))


def retrieved(spectrum: Spectrum, z: Tensor, times: Tensor | float) -> Tensor:
    r"""Share of z that gradient flow from zero has retrieved.

    .. math:: R_t(z) = \|(I - e^{-Kt})\, z\| / \|z\|

    Args:
        spectrum: Eigenpairs; directions that it lacks count as never learned.
        z: ``[n]`` or ``[n, c]``, centred.
        times: ``[t]``, in units of one over an eigenvalue: with the kernel divided by n and t = learning rate x steps,
            gradient descent on the mean of half the squared error.

    Returns:
        R at each time, float64 ``[t]``, from 0 to 1.

    Raises:
        DataError: z is zero.

    Example:
        >>> spectrum = Spectrum.of(torch.eye(2))
        >>> round(float(retrieved(spectrum, torch.tensor([1.0, 2.0]), 1.0)), 4)
        0.6321
    """  # noqa: DOC502 (raised by what is called)
    z, whole = _energy(z)
    held = spectrum.coefficients(z).square().sum(1)
    return (learned(spectrum.values, times).square() @ held / whole).clamp(0, 1).sqrt()


def random_retrieved(spectrum: Spectrum, times: Tensor | float) -> Tensor:
    """Root of the mean of R_t² over random z with independent entries, sqrt(sum_i s_i² / n), at each time."""
    return (learned(spectrum.values, times).square().sum(1) / spectrum.size).sqrt()


def effective_ranks(spectrum: Spectrum) -> dict[str, float]:
    """Count the effective directions of a kernel: 1 for a kernel of rank one, n for the identity."""
    # With shares p_i of the trace: ``entropy`` exp(-sum p_i ln p_i) (Roy & Vetterli 2007, The effective rank, EUSIPCO),
    # ``participation`` 1 / sum p_i², ``stable`` 1 / p_1, the stable rank |J|_F² / |J|_2² of the Jacobian. What the
    # trace leaves is spread evenly over missing pairs: no rank can be larger.
    values = spectrum.values.clamp(min=0)
    total = max(spectrum.trace, float(values.sum()))
    if total <= 0:
        raise DataError("the kernel is zero: it has no effective rank", "Check network and inputs.")
    p, missing = values / total, spectrum.size - len(values)
    rest = max(1 - float(p.sum()), 0.0) / max(missing, 1)
    p = torch.cat([p, p.new_full((missing,), rest)])
    entropy = float(torch.special.entr(p).sum().exp())
    return {"entropy": entropy, "participation": float(1 / p.square().sum()), "stable": float(1 / p[0])}


def target_alignment(spectrum: Spectrum, z: Tensor) -> float:
    """Cosine of the centred kernel and Z Zᵀ of centred labels ``[n, C]``, from 0 to 1."""
    # Not centred, a kernel that is nearly constant seems aligned with any labels. Cortes, Mohri & Rostamizadeh (2012),
    # JMLR 13, arXiv 1203.0550, definition 4.
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    z = z - z.mean(0)
    product = spectrum.coefficients(z).square().sum(1) @ spectrum.values.clamp(min=0)
    factor = _factor(spectrum, centre=True)
    return _cosine(product, (factor.T @ factor).square().sum(), (z.T @ z).square().sum())


def kernel_alignment(first: Spectrum, second: Spectrum, *, centre: bool = True) -> float:
    """Cosine of two kernels of the same examples, centred by default; drift is 1 less this."""
    # Linear CKA of their features: Cortes et al. (2012), arXiv:1203.0550; Kornblith et al. (2019), arXiv:1905.00414.
    # Pairs that a spectrum lacks count as 0.
    _refuse_other_size(first, second)
    one, two = _factor(first, centre), _factor(second, centre)
    return _cosine((one.T @ two).square().sum(), (one.T @ one).square().sum(), (two.T @ two).square().sum())


def subspace_overlap(first: Spectrum, second: Spectrum, k: int) -> float:
    """Overlap of the k leading directions of two kernels, |V_kᵀ W_k|² / k: 1 for the same, k/n for unrelated ones."""
    _refuse_other_size(first, second)
    return float((first.leading(k).vectors.T @ second.leading(k).vectors).square().sum() / k)


def _factor(spectrum: Spectrum, centre: bool) -> Tensor:
    """A with K = A Aᵀ, ``[n, k]``, its columns centred if asked."""
    factor = spectrum.vectors * spectrum.values.clamp(min=0).sqrt()
    return factor - factor.mean(0) if centre else factor


def _refuse_other_size(first: Spectrum, second: Spectrum) -> None:
    if first.size != second.size:
        raise DataError(
            f"kernels of {first.size} and {second.size} examples cannot be compared", "Use the same examples for both."
        )


def _cosine(product: Tensor, one: Tensor, two: Tensor) -> float:
    if min(float(one), float(two)) <= 1e-300:
        raise DataError("a kernel or label matrix is constant: after centring nothing is left", "Check the inputs.")
    return float((product / (one * two).sqrt()).clamp(0, 1))
