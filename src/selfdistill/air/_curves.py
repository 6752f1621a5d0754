"""Training curves that a kernel predicts: agreement, accuracy and distance over time, with bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill.air._flow import Flow, checked_labels
from selfdistill.air._interval import Interval

__all__ = ["Curves", "margins", "predicted_curves"]


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
    agreement: Interval
    accuracy: Interval | None
    loss: Interval
    distance: Interval | None

    def at(self, time: float) -> dict[str, float]:
        """Read the middle of each curve at a time, between the points on a log scale.

        Args:
            time: Where; held to the range of the points.

        Returns:
            ``agreement``, ``loss`` and, where the truth is known, ``accuracy`` and ``distance``.
        """
        return {name: float(bounds.middle) for name, bounds in self.bounds_at(time).items()}

    def bounds_at(self, time: float) -> dict[str, Interval]:
        """Read the bounds of each curve at a time.

        Args:
            time: As for `at`.

        Returns:
            The same names, each with bounds.
        """
        import numpy as np

        x, where = self.times.clamp(min=1e-300).log().numpy(), float(np.log(max(time, 1e-300)))
        found = {}
        for name in ("agreement", "accuracy", "loss", "distance"):
            curve: Interval | None = getattr(self, name)
            if curve is not None:
                low, high = (torch.tensor(np.interp(where, x, side.numpy())).double() for side in curve)
                found[name] = Interval(low, high)
        return found


def margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """Output of the label less the largest of the others.

    Args:
        outputs: ``[n, C]``.
        labels: int64 ``[n]``.

    Returns:
        ``[n]``; above 0 where the label is what is predicted.

    Example:
        >>> margins(torch.tensor([[0.75, 0.25]]), torch.tensor([1])).tolist()
        [-0.5]
    """
    own = outputs.gather(1, labels[:, None]).squeeze(1)
    others = outputs.scatter(1, labels[:, None], -torch.inf).amax(1)
    return own - others


def predicted_curves(flow: Flow, times: Tensor, given: Tensor, truth: Tensor | None = None) -> Curves:
    r"""Predict the training curves of a network whose kernel stays as it is.

    An example counts for the lower bound of a share if its margin is positive whatever the missing pairs hold, for the
    upper bound if it may be.

    Args:
        flow: Kernel, targets and start.
        times: ``[t]``, in units of one over an eigenvalue; see `Clock` for epochs.
        given: Given labels, int64 ``[n]``.
        truth: True labels, int64 ``[n]``, where known.

    Returns:
        The curves. Cost: ``2 t n k C`` FLOPs.

    Example:
        >>> from selfdistill.theory import Spectrum
        >>> flow = Flow(Spectrum.of(torch.eye(2)), torch.eye(2))
        >>> predicted_curves(flow, torch.tensor([1.0]), torch.tensor([0, 1])).agreement.low.tolist()
        [1.0]
    """
    given = checked_labels(given, flow, "given labels")
    right = [checked_labels(truth, flow, "truth")] if truth is not None else []
    columns = flow.targets.shape[1]
    rows: list[list[Tensor]] = []
    for outputs, radius in flow.over(times):
        row = [*_share(outputs, radius, given), *(0.5 * d.square() for d in _distance(outputs, radius, flow.targets))]
        for labels in right:
            ideal = torch.nn.functional.one_hot(labels, columns).double()
            row += [*_share(outputs, radius, labels), *_distance(outputs, radius, ideal)]
        rows.append(row)
    columns_of = torch.stack([torch.stack(row) for row in rows]).T
    found = [Interval(columns_of[i], columns_of[i + 1]) for i in range(0, len(columns_of), 2)]
    times = torch.as_tensor(times).double().reshape(-1)
    if truth is None:
        return Curves(times, found[0], None, found[1], None)
    return Curves(times, found[0], found[2], found[1], found[3])


def _share(outputs: Tensor, radius: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest share of examples whose label may lead, given the radius of each output."""
    at, sure, may = labels[:, None], outputs + radius, outputs - radius
    own_low, own_high = may.gather(1, at).squeeze(1), sure.gather(1, at).squeeze(1)
    low = (own_low > sure.scatter(1, at, -torch.inf).amax(1)).double().mean()
    high = (own_high > may.scatter(1, at, -torch.inf).amax(1)).double().mean()
    return low, torch.maximum(low, high)


def _distance(outputs: Tensor, radius: Tensor, ideal: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds of the root mean squared distance, over the rows."""
    gap = (outputs - ideal.double()).abs()
    low, high = (gap - radius).clamp(min=0), gap + radius
    return low.square().sum(1).mean().sqrt(), high.square().sum(1).mean().sqrt()
