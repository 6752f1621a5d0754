"""Kernel time and epochs: how far gradient flow goes in an epoch of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.errors import SettingError
from selfdistill.theory import Spectrum

_LOSSES = ("squared", "cross-entropy")
_OUTPUTS = ("trace", "sum", "centered", "fisher")


def per_step(spectrum: Spectrum, classes: int, *, loss: str = "cross-entropy", output: str = "trace") -> Spectrum:
    r"""Turn the eigenvalues of a network's kernel into rates per unit of learning rate x steps.

    Gradient descent on the mean over n examples of half the squared error follows
    :math:`\dot F = -\tfrac1n \hat K (F - Y)`, with t = learning rate x steps and :math:`\hat K` the kernel of one
    output, taken as the same for all C and without cross terms: ``trace`` / C, ``sum`` / C, ``centered`` / (C - 1) or
    ``fisher`` C / (C - 1). Under softmax cross-entropy the residual is p - Y, and near equal probabilities p moves by
    1/C of what the centred logits do: the rates of the probabilities are C times smaller,

    .. math:: \dot p = -\tfrac{1}{nC} \hat K (p - Y).

    Later the softmax saturates and the kernel moves, so this is the clock of early training; the curves of
    `Flow` have a method ``fit_scale`` that measures by what factor it is off.

    Args:
        spectrum: Of the kernel of the network, in its own units.
        classes: C.
        loss: "squared" (mean over examples of half the squared error, summed over outputs) or "cross-entropy".
        output: Which kernel, see `selfdistill.ntk.NTK`.

    Returns:
        The same pairs with rates for eigenvalues.

    Raises:
        SettingError: An unknown loss or output.

    Example:
        >>> per_step(Spectrum.of(8 * torch.eye(4)), 2, loss="squared").values[0].item()
        1.0
    """
    if loss not in _LOSSES or output not in _OUTPUTS:
        raise SettingError(
            f"loss {loss!r} with output {output!r}", f"Choose of {', '.join(_LOSSES)} and of {', '.join(_OUTPUTS)}."
        )
    one = {"trace": 1 / classes, "sum": 1 / classes, "centered": 1 / max(classes - 1, 1)}
    one["fisher"] = classes / max(classes - 1, 1)
    factor = one[output] / spectrum.size / (classes if loss == "cross-entropy" else 1)
    return replace(
        spectrum, values=spectrum.values * factor, residuals=spectrum.residuals * factor, trace=spectrum.trace * factor
    )


@dataclass(frozen=True)
class Clock:
    """Kernel time of each epoch: learning rate x steps / (1 - momentum), summed."""

    # With momentum m a gradient acts on this and later steps, 1 + m + m² + ... times; Nesterov's form does so too.
    # Weight decay is left out.

    lr: tuple[float, ...]  # mean learning rate of each epoch
    steps: int  # per epoch
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr or min(self.lr) < 0 or self.steps < 1 or not 0 <= self.momentum < 1:
            raise SettingError(
                f"a clock of {len(self.lr)} learning rates, {self.steps} steps and momentum {self.momentum}",
                "Give at least one rate of 0 or more, one step or more, and a momentum in [0, 1).",
            )

    @classmethod
    def of_ends(cls, lr: Sequence[float], steps: int, momentum: float = 0.0) -> Clock:
        """Take the rates at the ends of the epochs, as run records hold them, with straight lines in between."""
        before = [*lr[:1], *lr[:-1]]
        return cls(tuple((a + b) / 2 for a, b in zip(before, lr, strict=True)), steps, momentum)

    @property
    def times(self) -> Tensor:
        """Time at the start and after each epoch, float64 ``[epochs + 1]``."""
        each = torch.tensor(self.lr, dtype=torch.float64) * self.steps / (1 - self.momentum)
        return torch.cat([torch.zeros(1, dtype=torch.float64), each.cumsum(0)])

    def epoch_of(self, time: float) -> float:
        """Say after how many epochs, with a fraction, a kernel time is reached; infinite past the last."""
        times = self.times.numpy()
        return float(np.interp(time, times, np.arange(len(times)))) if time <= times[-1] else float("inf")
