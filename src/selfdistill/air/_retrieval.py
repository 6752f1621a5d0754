"""How much of a label matrix gradient flow has retrieved by a time, and how unevenly."""

from __future__ import annotations

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air._interval import Interval
from selfdistill.theory import Spectrum

__all__ = ["anisotropy", "anisotropy_at_start", "checked_times", "learned", "random_retrieved", "retrieved"]


def checked_times(times: Tensor) -> Tensor:
    """Return times as float64, having refused negative ones and NaN.

    Args:
        times: ``[t]`` or one number.

    Returns:
        float64 ``[t]``.

    Raises:
        SettingError: A time below 0 or not a number.

    Example:
        >>> checked_times(2.0).tolist()
        [2.0]
    """
    times = torch.as_tensor(times, dtype=torch.float64).reshape(-1)
    if not len(times) or bool((~(times >= 0)).any()):
        raise SettingError(f"times are {times.tolist()[:5]}, but must be numbers of at least 0", "Give lr x steps.")
    return times


def learned(values: Tensor, times: Tensor) -> Tensor:
    r"""Share of each direction that gradient flow has learned, :math:`1 - e^{-\lambda t}`.

    Args:
        values: Eigenvalues, ``[k]``.
        times: ``[t]``, in units of one over an eigenvalue.

    Returns:
        float64 ``[t, k]``.

    Example:
        >>> learned(torch.tensor([1.0]), torch.tensor([0.0, 50.0])).round().tolist()
        [[0.0], [1.0]]
    """
    return -torch.expm1(-checked_times(times)[:, None] * values.double().clamp(min=0))


def retrieved(spectrum: Spectrum, z: Tensor, times: Tensor) -> Interval:
    r"""Share of z that gradient flow from zero has retrieved.

    .. math:: R_t(z) = \|(I - e^{-Kt})\, z\| / \|z\|

    Args:
        spectrum: Eigenpairs.
        z: ``[n]`` or ``[n, c]``, centred.
        times: ``[t]``, in units of one over an eigenvalue: with the kernel divided by n and t = learning rate x steps,
            gradient descent on the mean of half the squared error.

    Returns:
        R at each time, ``[t]``, from 0 to 1. What the pairs at hand do not hold is retrieved no faster than the last
        of them, which gives the upper bound.

    Raises:
        DataError: z is zero.

    Example:
        >>> spectrum = Spectrum.of(torch.eye(2))
        >>> round(float(retrieved(spectrum, torch.tensor([1.0, 2.0]), torch.tensor([1.0])).low), 4)
        0.6321
    """
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    whole = z.square().sum()
    if whole <= 0:
        raise DataError("the labels have no energy: after centring they are constant", "Give labels that differ.")
    filters = learned(spectrum.values, times)
    held = spectrum.coefficients(z).square().sum(1)
    low = (filters.square() @ held / whole).clamp(0, 1)
    rest = (1 - held.sum() / whole).clamp(min=0) if not spectrum.complete else torch.zeros(())
    high = (low + filters[:, -1].square() * rest).clamp(max=1)
    return Interval(low.sqrt(), high.sqrt())


def random_retrieved(spectrum: Spectrum, times: Tensor) -> Interval:
    r"""Root of the mean of :math:`R_t^2` over random z with independent entries, :math:`\sqrt{\sum_i s_i^2 / n}`.

    Args:
        spectrum: Eigenpairs.
        times: ``[t]``.

    Returns:
        The same for each time, ``[t]``.

    Example:
        >>> round(float(random_retrieved(Spectrum.of(torch.eye(3)), torch.tensor([1.0])).low), 4)
        0.6321
    """
    filters, n = learned(spectrum.values, times), spectrum.size
    low = filters.square().sum(1) / n
    high = low + filters[:, -1].square() * (n - len(spectrum.values)) / n
    return Interval(low.sqrt(), high.sqrt())


def anisotropy(spectrum: Spectrum, clean: Tensor, noise: Tensor, times: Tensor) -> Interval:
    r"""How many times more of the signal than of the noise is retrieved, :math:`R_t(Y) / R_t(\xi)`.

    Args:
        spectrum: Eigenpairs.
        clean: Centred clean labels.
        noise: The noise, see `noise_part`.
        times: ``[t]``, above 0: at 0 nothing is retrieved of either; `anisotropy_at_start` gives the limit.

    Returns:
        The ratio at each time, ``[t]``. It goes to 1 as t grows, if the kernel is positive definite.

    Example:
        >>> spectrum = Spectrum.of(torch.diag(torch.tensor([2.0, 1.0])))
        >>> found = anisotropy(spectrum, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1e-6]))
        >>> round(float(found.low), 4)
        2.0
    """
    signal, rest = retrieved(spectrum, clean, times), retrieved(spectrum, noise, times)
    return Interval(signal.low / rest.high, signal.high / rest.low)


def anisotropy_at_start(spectrum: Spectrum, z: Tensor) -> Interval:
    r"""First instant's ratio of retrieved z to retrieved white noise.

    .. math:: \lim_{t \to 0} \frac{R_t(z)}{\sqrt{E\, R_t^2(\text{white})}}
        = \sqrt{\frac{z^\top K^2 z / \|z\|^2}{\mathrm{tr}\, K^2 / n}}

    Args:
        spectrum: Eigenpairs.
        z: ``[n]`` or ``[n, c]``, centred.

    Returns:
        A scalar with bounds; 1 for labels that know nothing of the kernel.

    Example:
        >>> float(anisotropy_at_start(Spectrum.of(torch.eye(3)), torch.tensor([1.0, 2.0, 3.0])).low)
        1.0
    """
    z = torch.as_tensor(z).double().cpu().reshape(len(z), -1)
    whole, square = z.square().sum(), spectrum.values.square()
    held = spectrum.coefficients(z).square().sum(1)
    low, trace = held @ square / whole, square.sum()
    top, rest = square[-1], max(spectrum.trace - float(spectrum.values.sum()), 0.0)
    open_ = 0.0 if spectrum.complete else 1.0
    high = low + open_ * top * (1 - held.sum() / whole).clamp(min=0)
    n, most = spectrum.size, trace + open_ * spectrum.values[-1] * rest
    return Interval((low / (most / n)).sqrt(), (high / (trace / n)).sqrt())
