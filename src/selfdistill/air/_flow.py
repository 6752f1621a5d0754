"""What gradient flow predicts for each example by a time, with a bound on what missing eigenpairs may change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air._retrieval import checked_times, learned
from selfdistill.theory import Spectrum

__all__ = ["Flow", "default_times"]


def default_times(spectrum: Spectrum, points: int = 160) -> Tensor:
    """Choose times from before the first direction is learned to after the last one at hand.

    Args:
        spectrum: Eigenpairs.
        points: How many.

    Returns:
        float64 ``[points]``, evenly spaced on a log scale from 0.03 over the largest eigenvalue to 10 over the
        smallest, at most nine decades.

    Raises:
        DataError: A kernel without an eigenvalue above 0.

    Example:
        >>> default_times(Spectrum.of(torch.eye(2)), 3).round(decimals=3).tolist()
        [0.03, 0.548, 10.0]
    """
    top, last = float(spectrum.values[0]), float(spectrum.values[-1])
    if top <= 0:
        raise DataError("the kernel is zero: nothing is ever learned", "Check network and inputs.")
    first, end = 0.03 / top, 10 / max(last, top * 1e-8)
    return torch.logspace(torch.tensor(first).log10().item(), torch.tensor(end).log10().item(), points).double()


@dataclass(frozen=True, eq=False)
class Flow:
    r"""Gradient flow on squared loss with a fixed kernel, column by column.

    .. math:: F_t = F_0 + (I - e^{-Kt})(Y - F_0)

    The pairs at hand give :math:`V (1 - e^{-\Lambda t}) V^\top (Y - F_0)`. The filter of the rest lies between 0 and
    :math:`s = 1 - e^{-\lambda_k t}`, so with r the part of :math:`Y - F_0` that no pair holds and p that of a unit
    vector, the missing term at example i, column c lies within :math:`\tfrac{s}{2} \|p_i\| \|r_c\|` of
    :math:`\tfrac{s}{2} r_{ic}`.

    Args:
        spectrum: Eigenpairs, in units of one over time.
        targets: Y, ``[n, C]``.
        start: F at time 0, ``[n, C]``; zero if left out.

    Raises:
        DataError: Shapes that do not fit.

    Example:
        >>> flow = Flow(Spectrum.of(torch.eye(2)), torch.eye(2))
        >>> outputs, radius = flow.at(torch.log(torch.tensor(2.0)))
        >>> outputs.round(decimals=4).tolist(), radius.max().item()
        ([[0.5, 0.0], [0.0, 0.5]], 0.0)
    """

    spectrum: Spectrum
    targets: Tensor
    start: Tensor | None = None

    def __post_init__(self) -> None:
        n = self.spectrum.size
        for name, z in (("targets", self.targets), ("start", self.start)):
            if z is not None and (z.ndim != 2 or len(z) != n or z.shape != self.targets.shape):
                raise DataError(f"{name} have shape {tuple(z.shape)} for {n} examples", f"Give [{n}, C] for both.")

    @property
    def begin(self) -> Tensor:
        """Outputs at time 0, float64 ``[n, C]``."""
        targets = self.targets.double()
        return torch.zeros_like(targets) if self.start is None else self.start.double()

    def at(self, time: Tensor | float) -> tuple[Tensor, Tensor]:
        """Give the outputs at one time.

        Args:
            time: At least 0.

        Returns:
            Outputs ``[n, C]``, and the radius ``[n, C]`` within which the true ones lie.
        """
        return next(self.over(torch.as_tensor(time).reshape(1)))

    def over(self, times: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the outputs at each time, one after the other.

        Args:
            times: ``[t]``.

        Yields:
            As `at`. Cost: ``2 n k C`` FLOPs each.

        Raises:
            SettingError: A time below 0.
        """  # noqa: DOC502 (raised by what is called)
        spectrum, begin = self.spectrum, self.begin
        residual = self.targets.double() - begin
        held = spectrum.coefficients(residual)
        filters = learned(spectrum.values, checked_times(times))
        complete = spectrum.complete
        rest = torch.zeros_like(residual) if complete else residual - spectrum.vectors @ held
        outside = (1 - spectrum.vectors.square().sum(1)).clamp(min=0).sqrt()
        reach = torch.zeros_like(rest) if complete else outside[:, None] * torch.linalg.vector_norm(rest, dim=0)
        for s in filters:
            half = s[-1] / 2
            yield begin + spectrum.vectors @ (s[:, None] * held) + half * rest, half * reach


def checked_labels(labels: Tensor, flow: Flow, name: str) -> Tensor:
    """Refuse labels that do not fit.

    Args:
        labels: int64 ``[n]``.
        flow: What they are compared with.
        name: What they are, for the message.

    Returns:
        The same on the CPU.

    Raises:
        DataError: Another length.
        SettingError: A value that is no column.

    Example:
        >>> checked_labels(torch.tensor([0, 1]), Flow(Spectrum.of(torch.eye(2)), torch.eye(2)), "truth").tolist()
        [0, 1]
    """
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (len(flow.targets),):
        raise DataError(
            f"{name} has shape {tuple(labels.shape)}", f"Give one label per example, [{len(flow.targets)}]."
        )
    if bool(((labels < 0) | (labels >= flow.targets.shape[1])).any()):
        raise SettingError(f"{name} holds a label outside 0 to {flow.targets.shape[1] - 1}", "Encode them so.")
    return labels
