"""What a fixed kernel predicts of training: outputs, curves, and the time at which each label is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import DataError, SettingError
from selfdistill.air._measures import checked_times, learned
from selfdistill.theory import Spectrum

_PARTS = 8  # points of a stretch of training that a predicted curve is averaged over


class Fit(NamedTuple):
    """By what factor measured training runs ahead of the predicted one."""

    scale: float  # kernel time per unit of learning rate x steps; 1 where the prediction is right
    error: float  # root mean squared difference of the two agreement curves after scaling
    unscaled: float  # the same before it


@dataclass(frozen=True, eq=False)
class Curves:
    """What gradient flow predicts on the training examples over time.

    Attributes:
        times: ``[t]``.
        agreement: Share of examples whose largest output is the given label, ``[t]``.
        accuracy: Share whose largest output is the true label, ``[t]``; ``None`` where the truth is not known.
        loss: Mean over the examples of half the squared distance to the given labels, ``[t]``.
        distance: Root of the mean squared distance to the true labels, ``[t]``; ``None`` as above.
    """

    times: Tensor
    agreement: Tensor
    accuracy: Tensor | None
    loss: Tensor
    distance: Tensor | None

    @property
    def known(self) -> dict[str, Tensor]:
        """The curves that there are, by name."""
        every = {name: getattr(self, name) for name in ("agreement", "accuracy", "loss", "distance")}
        return {name: curve for name, curve in every.items() if curve is not None}

    def at(self, time: float) -> dict[str, float]:
        """Read each known curve at a time, between the points on a log scale, held to their range."""
        x, where = self.times.clamp(min=1e-300).log().numpy(), float(np.log(max(time, 1e-300)))
        return {name: float(np.interp(where, x, curve.numpy())) for name, curve in self.known.items()}

    def fit_scale(self, times: Tensor, agreement: Tensor, since: Tensor | None = None) -> Fit:
        """Fit one time-scale factor to a measured agreement curve; nothing else is fitted.

        Args:
            times: Kernel times of the measurements, ``[m]``, such as those after each epoch.
            agreement: Measured share of training examples predicted as given, ``[m]``.
            since: Where each is a mean over a stretch of training, as that of an epoch is, the time that began it,
                ``[m]``; the predicted curve is then averaged alike.

        Returns:
            The factor of least squared error, from 1/1000 to 1000 in steps of 1 %.

        Raises:
            SettingError: Measurements of another number than times.

        Example:
            >>> t = torch.logspace(-2, 2, 50)
            >>> curves = Curves(t, 1 - torch.exp(-t), None, t, None)
            >>> measured = torch.tensor([0.5, 1.0, 2.0])
            >>> round(curves.fit_scale(measured, 1 - torch.exp(-2 * measured)).scale, 1)
            2.0
        """
        if len(times) != len(agreement) or not len(times):
            raise SettingError(f"{len(times)} times, but {len(agreement)} measurements", "Give one for each.")
        x, y = self.times.log().numpy(), self.agreement.numpy()
        end = torch.as_tensor(times).double()
        begin = end if since is None else torch.as_tensor(since).double()
        parts = torch.arange(_PARTS, dtype=torch.float64)[:, None].add(0.5) / _PARTS
        at = (begin + parts * (end - begin)).clamp(min=1e-300).log().numpy()
        measured = torch.as_tensor(agreement).double().numpy()
        grid = np.concatenate([[0.0], np.arange(-694, 695) * 0.00995])
        errors = [float(np.sqrt(np.mean((np.interp(at + g, x, y).mean(0) - measured) ** 2))) for g in grid]
        best = int(np.argmin(errors))
        return Fit(float(np.exp(grid[best])), errors[best], errors[0])


@dataclass(frozen=True, eq=False)
class Flow:
    r"""Gradient flow on squared loss with a fixed kernel, column by column.

    .. math:: F_t = F_0 + (I - e^{-Kt})(Y - F_0)

    Args:
        spectrum: Eigenpairs, in units of one over time; directions that it lacks count as never learned.
        targets: Y, ``[n, C]``.
        start: F at time 0, ``[n, C]``; zero if left out.

    Raises:
        DataError: Shapes that do not fit.

    Example:
        >>> flow = Flow(Spectrum.of(torch.eye(2)), torch.eye(2))
        >>> flow.at(torch.log(torch.tensor(2.0))).round(decimals=4).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
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

    def at(self, time: Tensor | float) -> Tensor:
        """Give the outputs at one time.

        Args:
            time: At least 0.

        Returns:
            Outputs, float64 ``[n, C]``.
        """
        return next(self.over(torch.as_tensor(time).reshape(1)))

    def over(self, times: Tensor) -> Iterator[Tensor]:
        """Give the outputs at each time, one after the other.

        Args:
            times: ``[t]``.

        Yields:
            As `at`. Cost: ``2 n k C`` FLOPs each.

        Raises:
            SettingError: A time below 0.
        """  # noqa: DOC502 (raised by what is called)
        begin, vectors = self.begin, self.spectrum.vectors
        held = self.spectrum.coefficients(self.targets.double() - begin)
        for s in learned(self.spectrum.values, times):
            yield begin + vectors @ (s[:, None] * held)

    def times(self, points: int = 160) -> Tensor:
        """Choose times from before the first direction is learned to after the last one at hand.

        Args:
            points: How many.

        Returns:
            float64 ``[points]``, evenly spaced on a log scale from 0.03 over the largest eigenvalue to 10 over the
            smallest, at most nine decades.

        Raises:
            DataError: A kernel without an eigenvalue above 0.

        Example:
            >>> Flow(Spectrum.of(torch.eye(2)), torch.eye(2)).times(3).round(decimals=3).tolist()
            [0.03, 0.548, 10.0]
        """
        top, last = float(self.spectrum.values[0]), float(self.spectrum.values[-1])
        if top <= 0:
            raise DataError("the kernel is zero: nothing is ever learned", "Check network and inputs.")
        first, end = 0.03 / top, 10 / max(last, top * 1e-8)
        return torch.logspace(torch.tensor(first).log10().item(), torch.tensor(end).log10().item(), points).double()

    def curves(self, times: Tensor, given: Tensor, truth: Tensor | None = None) -> Curves:
        """Predict the training curves of a network whose kernel stays as it is.

        Args:
            times: ``[t]``, in units of one over an eigenvalue; `per_step` makes that learning rate x steps.
            given: Given labels, int64 ``[n]``.
            truth: True labels, int64 ``[n]``, where known.

        Returns:
            ``times``, ``agreement`` and ``loss`` with the given labels, ``accuracy`` and ``distance`` to the true ones,
            each ``[t]``; ``at(time)`` reads between the times, and ``fit_scale`` compares with a measured curve. Cost:
            ``2 t n k C`` FLOPs.

        Example:
            >>> flow = Flow(Spectrum.of(torch.eye(2)), torch.eye(2))
            >>> flow.curves(torch.tensor([1.0]), torch.tensor([0, 1])).agreement.tolist()
            [1.0]
        """
        given = self.checked(given, "given labels")
        right = None if truth is None else self.checked(truth, "truth")
        times, rows = torch.as_tensor(times).double().reshape(-1), []
        for outputs in self.over(times):
            row = [_share(outputs, given), 0.5 * _distance(outputs, self.targets).square()]
            if right is not None:
                ideal = torch.nn.functional.one_hot(right, outputs.shape[1])
                row += [_share(outputs, right), _distance(outputs, ideal)]
            rows.append(torch.stack(row))
        found = list(torch.stack(rows).T)
        truth_known = right is not None
        return Curves(times, found[0], found[2] if truth_known else None, found[1], found[3] if truth_known else None)

    def checked(self, labels: Tensor, name: str) -> Tensor:
        """Return labels on the CPU, having checked that they fit."""
        labels, (n, columns) = torch.as_tensor(labels).cpu(), self.targets.shape
        if labels.shape != (n,):
            raise DataError(f"{name} has shape {tuple(labels.shape)}", f"Give one label per example, [{n}].")
        if bool(((labels < 0) | (labels >= columns)).any()):
            raise SettingError(
                f"{name} holds a label outside 0 to {columns - 1}", f"Encode them as 0 to {columns - 1}."
            )
        return labels


def margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """Output of the label less the largest of the others: ``[n]``, above 0 where the label is what is predicted."""
    own = outputs.gather(1, labels[:, None]).squeeze(1)
    others = outputs.scatter(1, labels[:, None], -torch.inf).amax(1)
    return own - others


def _share(outputs: Tensor, labels: Tensor) -> Tensor:
    return (margins(outputs, labels) > 0).double().mean()


def _distance(outputs: Tensor, ideal: Tensor) -> Tensor:
    return (outputs - ideal.double()).square().sum(1).mean().sqrt()


@dataclass(frozen=True, eq=False)
class LearningOrder:
    """When each example and each class is retrieved."""

    per_example: Tensor  # first time at which the label's margin exceeds the level, float64 ``[n]``, or infinity
    per_class: Tensor  # first time at which half the examples of the class have got there, float64 ``[C]``
    level: float


def learning_order(flow: Flow, times: Tensor, labels: Tensor, *, level: float = 0.0) -> LearningOrder:
    """Find the first time at which the margin of each label, ``[n]``, exceeds a level below 1."""
    # The margin is the output of the label less the largest other: above 0 the label is what the network would predict,
    # 0.5 is half of the way to the one-hot target. Between two times the crossing is found by a straight line in the
    # log of time.
    labels, times = flow.checked(labels, "labels"), checked_times(times)
    if not level < 1:
        raise SettingError(f"level is {level}, but a margin stays below 1", "Give 0 or 0.5.")
    if bool((times.diff() <= 0).any()) or float(times[0]) <= 0:
        raise SettingError("times do not increase from above 0", "Give them in order, such as flow.times().")
    first = _crossing(torch.stack([margins(outputs, labels) for outputs in flow.over(times)]), times, level)
    per_class = torch.stack([_half(first[labels == c]) for c in range(flow.targets.shape[1])])
    return LearningOrder(first, per_class, level)


def _crossing(path: Tensor, times: Tensor, level: float) -> Tensor:
    """First time at which each column of ``path [t, n]`` exceeds the level."""
    above = path > level
    index = above.float().argmax(0)
    before = (index - 1).clamp(min=0)
    at = torch.arange(path.shape[1])
    lower, upper = path[before, at], path[index, at]
    share = ((level - lower) / (upper - lower).clamp(min=1e-300)).clamp(0, 1)
    log = times.log()
    when = torch.where(index > 0, (log[before] + share * (log[index] - log[before])).exp(), times[0])
    return torch.where(above.any(0), when, torch.inf)


def _half(times: Tensor) -> Tensor:
    """Time by which at least half have got there; infinite for an empty class."""
    if not len(times):
        return torch.tensor(torch.inf, dtype=torch.float64)
    return times.sort().values[(len(times) + 1) // 2 - 1]
