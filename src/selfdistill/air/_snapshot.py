"""One network at one moment: what its kernel's leading directions hold, and how far it moved from an earlier one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError
from selfdistill.air._cortes2012alignment import kernel_alignment, subspace_overlap, target_alignment
from selfdistill.air._effective_rank import effective_ranks
from selfdistill.air._energy import captured, random_captured
from selfdistill.air._interval import Interval
from selfdistill.air._labels import centred, noise_part, one_hot
from selfdistill.theory import Spectrum

__all__ = ["Examples", "Kernel", "Snapshot", "calibrated", "outputs_of", "snapshot"]

Kernel = Callable[[nn.Module, Tensor], Spectrum]
"""From a network in evaluation mode and inputs to the spectrum of its kernel."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples that a kernel is taken on, with what is known of their labels.

    Attributes:
        inputs: ``[n, ...]``.
        given: Given labels, int64 ``[n]``.
        classes: Number of classes C.
        clean: True or refined labels, int64 ``[n]``; ``None``: there are none.
        matrix: Transition matrix ``T[clean, given]`` that the noise was drawn from, where known; measured if left out.

    Raises:
        DataError: Fewer than two examples, or label vectors of another length.
    """

    inputs: Tensor
    given: Tensor
    classes: int
    clean: Tensor | None = None
    matrix: Tensor | None = None

    def __post_init__(self) -> None:
        n = len(self.inputs)
        if n < 2:
            raise DataError(f"{n} example: a kernel needs at least 2", "Give more examples.")
        for name, labels in (("given", self.given), ("clean", self.clean)):
            if labels is not None and len(labels) != n:
                raise DataError(f"{len(labels)} {name} labels for {n} examples", "Give one for each example.")

    def __len__(self) -> int:
        return len(self.inputs)

    def parts(self) -> dict[str, Tensor]:
        """Give the label matrices, centred: ``given``, and where clean labels are known ``clean`` and ``noise``."""
        found = {"given": centred(one_hot(self.given, self.classes))}
        if self.clean is not None:
            found["clean"] = centred(one_hot(self.clean, self.classes))
            if not torch.equal(self.clean, self.given):
                found["noise"] = centred(noise_part(self.given, self.clean, self.classes, self.matrix))
        return found


@dataclass(frozen=True)
class Snapshot:
    """What was measured at one moment.

    Attributes:
        name: Of the moment.
        epoch: Epochs done; ``None`` where not known.
        ranks: Numbers of leading directions.
        energy: For each label matrix, the share of its energy at each rank: a number, or ``[low, high]``.
        chance: Expected share of labels dealt out at random, at each rank.
        alignment: Centred alignment of the kernel with each label matrix.
        effective_rank: ``entropy``, ``participation``, ``stable``.
        top_share: Largest eigenvalue over the trace.
        agreement: Share of predictions equal to the given label.
        accuracy: Share equal to the clean one; ``None`` where there is none.
        drift: 1 less the centred cosine with the first kernel; ``None`` for the first.
        overlap: Overlap of the leading eigenspaces with those of the first kernel, at each rank at hand.
        seconds: What the measurement took.
    """

    name: str
    epoch: int | None
    ranks: tuple[int, ...]
    energy: Mapping[str, Any]
    chance: list[float]
    alignment: Mapping[str, Any]
    effective_rank: Mapping[str, Any]
    top_share: float
    agreement: float
    accuracy: float | None
    drift: Any = None
    overlap: list[float] = field(default_factory=list)
    seconds: float = 0.0


def calibrated(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Copy a network with the running statistics of its BatchNorm layers taken anew from some inputs.

    At initialisation they are 0 and 1, which no network ever trains with: the kernel would be that of another one.

    Args:
        model: Any network; left as it is.
        inputs: ``[n, ...]``, passed through once, in training mode.

    Returns:
        A copy in evaluation mode; without BatchNorm a plain copy.

    Example:
        >>> model = nn.BatchNorm1d(1)
        >>> calibrated(model, torch.tensor([[1.0], [3.0]])).running_mean.item(), model.running_mean.item()
        (2.0, 0.0)
    """
    twin = copy.deepcopy(model)
    norms = [m for m in twin.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if norms:
        twin.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
            norm.train()
        with torch.no_grad():
            for part in torch.split(inputs, 256):
                if len(part) > 1 or len(inputs) == 1:
                    twin(part)
        for norm, old in zip(norms, _norms(model), strict=True):
            norm.momentum = old.momentum
    return twin.eval()


def _norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor, batch: int = 512) -> Tensor:
    """Predict class probabilities.

    Args:
        model: In evaluation mode.
        inputs: ``[n, ...]``.
        batch: Examples at once.

    Returns:
        float64 ``[n, C]``, on the CPU.

    Raises:
        DataError: Outputs that are not ``[n, C]``.

    Example:
        >>> outputs_of(nn.Linear(2, 2, bias=False), torch.zeros(1, 2)).tolist()
        [[0.5, 0.5]]
    """
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts = [model(part.to(place)) for part in torch.split(inputs, batch)]
    if parts[0].ndim != 2:
        raise DataError(f"the network's outputs have shape {tuple(parts[0].shape)}", "They must be logits, [n, C].")
    return torch.cat(parts).double().softmax(1).cpu()


def snapshot(
    name: str,
    model: nn.Module,
    examples: Examples,
    spectrum: Spectrum,
    *,
    epoch: int | None = None,
    ranks: Sequence[int] = (10, 100, 1000),
    first: Spectrum | None = None,
    seconds: float = 0.0,
) -> Snapshot:
    """Measure a network whose spectrum is at hand.

    Args:
        name: Of the moment.
        model: In evaluation mode.
        examples: What the spectrum is of.
        spectrum: Eigenpairs.
        epoch: Epochs done.
        ranks: Numbers of leading directions; those above n are left out.
        first: Spectrum of an earlier moment, to measure the drift from.
        seconds: What the spectrum took.

    Returns:
        The measures.
    """
    ranks = tuple(k for k in ranks if k < spectrum.size) or (1,)
    parts = examples.parts()
    guess = outputs_of(model, examples.inputs).argmax(1)
    drift, overlap = None, []
    if first is not None:
        near = kernel_alignment(first, spectrum)
        drift = Interval(1 - near.high, 1 - near.low).listed()
        held = min(len(first.values), len(spectrum.values))
        overlap = [subspace_overlap(first, spectrum, k) for k in ranks if k <= held]
    chance = random_captured(spectrum, examples.given, examples.classes, ranks, draws=1)
    clean = examples.clean
    return Snapshot(
        name=name,
        epoch=epoch,
        ranks=ranks,
        energy={part: captured(spectrum, z, ranks).listed() for part, z in parts.items()},
        chance=[round(value, 9) for value in chance.expected.nan_to_num(-1).tolist()],
        alignment={part: target_alignment(spectrum, z).listed() for part, z in parts.items()},
        effective_rank={rank: value.listed() for rank, value in effective_ranks(spectrum).items()},
        top_share=float(spectrum.values[0]) / spectrum.trace,
        agreement=float((guess == examples.given.cpu()).double().mean()),
        accuracy=None if clean is None else float((guess == clean.cpu()).double().mean()),
        drift=drift,
        overlap=overlap,
        seconds=seconds,
    )
