"""A network at one moment, or along checkpoints: what its kernel's leading directions hold, how far it moved."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from selfdistill._core.dist import world
from selfdistill._core.errors import DataError, one_line
from selfdistill.air._measures import (
    captured,
    centred,
    effective_ranks,
    kernel_alignment,
    noise_part,
    one_hot,
    random_captured,
    subspace_overlap,
    target_alignment,
)
from selfdistill.ntk import NTK
from selfdistill.theory import Spectrum

DENSE = 3000  # examples up to which all eigenpairs are computed, in about 9 n³ FLOPs, rather than the leading ones

State = Mapping[str, Tensor]
_WRAPPERS = ("parts", "model", "state_dict", "model_state_dict")

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
        matrices = {"given": centred(one_hot(self.given, self.classes))}
        if self.clean is not None:
            matrices["clean"] = centred(one_hot(self.clean, self.classes))
            if not torch.equal(self.clean, self.given):
                matrices["noise"] = centred(noise_part(self.given, self.clean, self.classes, self.matrix))
        return matrices


@dataclass(frozen=True)
class Snapshot:
    """What was measured at one moment."""

    name: str  # of the moment
    epoch: int | None  # epochs done; ``None`` where not known
    ranks: tuple[int, ...]  # numbers of leading directions
    energy: Mapping[str, list[float]]  # for each label matrix, the share of its energy at each rank
    chance: list[float]  # expected share of labels dealt out at random, at each rank
    alignment: Mapping[str, float]  # centred alignment of the kernel with each label matrix
    effective_rank: Mapping[str, float]  # ``entropy``, ``participation``, ``stable``
    top_share: float  # largest eigenvalue over the trace
    agreement: float  # share of predictions equal to the given label
    accuracy: float | None  # share equal to the clean one; ``None`` where there is none
    drift: float | None = None  # 1 less the centred cosine with the first kernel; ``None`` for the first
    overlap: list[float] = field(default_factory=list)  # of leading eigenspaces with the first kernel's, by rank
    seconds: float = 0.0  # what the measurement took


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
    if norms := _norms(twin):
        twin.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
            norm.train()
        with torch.no_grad():
            for part in torch.tensor_split(inputs, -(-len(inputs) // 256)):  # of one size: plain means
                twin(part)
        for norm, old in zip(norms, _norms(model), strict=True):
            norm.momentum = old.momentum
    return twin.eval()


def _norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Predict class probabilities, float64 ``[n, C]`` on the CPU, with a network in evaluation mode."""
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts = [model(part.to(place)) for part in torch.split(inputs, 512)]
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
    """Measure a network in evaluation mode whose spectrum is at hand, and its drift from an earlier one."""
    # Ranks of n and more, or beyond the pairs at hand, are left out.
    ranks = tuple(k for k in ranks if k < spectrum.size and k <= len(spectrum.values)) or (1,)
    parts = examples.parts()
    guess = outputs_of(model, examples.inputs).argmax(1)
    drift, overlap = None, []
    if first is not None:
        drift = 1 - kernel_alignment(first, spectrum)
        overlap = [subspace_overlap(first, spectrum, k) for k in ranks if k <= len(first.values)]
    chance = random_captured(spectrum, examples.given, examples.classes, ranks, draws=1)
    clean = examples.clean
    return Snapshot(
        name=name,
        epoch=epoch,
        ranks=ranks,
        energy={part: captured(spectrum, z, ranks).tolist() for part, z in parts.items()},
        chance=[round(value, 9) for value in chance.expected.tolist()],
        alignment={part: target_alignment(spectrum, z) for part, z in parts.items()},
        effective_rank=effective_ranks(spectrum),
        top_share=float(spectrum.values[0]) / spectrum.trace,
        agreement=float((guess == examples.given.cpu()).double().mean()),
        accuracy=None if clean is None else float((guess == clean.cpu()).double().mean()),
        drift=drift,
        overlap=overlap,
        seconds=seconds,
    )


def network_kernel(
    output: str = "trace",
    rank: int | None = None,
    memory: str = "2GiB",
    progress: bool | None = False,
    labels: Tensor | None = None,
) -> Kernel:
    """Make the function that takes spectra, see `selfdistill.ntk.NTK`.

    Args:
        output: "trace", "sum", "centered" or "fisher".
        rank: Leading pairs; if left out, all of at most `DENSE` examples whose matrix fits the memory, else 200.
        memory: Budget.
        progress: Whether cost and a bar are shown on stderr; ``None``: on a terminal.
        labels: Label matrix ``[n, C]`` to start the search for leading pairs from.

    Returns:
        From a network and inputs to a spectrum.

    Example:
        >>> network_kernel()(nn.Linear(3, 2), torch.randn(5, 3)).complete
        True
    """

    def take(model: nn.Module, inputs: Tensor) -> Spectrum:
        n = len(inputs)
        operator = NTK(
            model,
            inputs,
            output=cast("Literal['trace', 'sum', 'centered', 'fisher']", output),
            memory=memory,
            progress=progress,
        )
        if n <= DENSE and operator.plan.matrix is not None:
            count = None if rank is None else min(rank, n)
            if world() > 1:  # each process has its rows of the matrix only
                return operator.eigh(count)
            return Spectrum.of(operator.matrix(), k=count)
        return operator.eigh(min(rank or 200, n), labels=labels)

    return take


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network from a file; no code in it is run."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", "Name a checkpoint file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
            inner = {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
            return inner or dict(state)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"{path} is not readable as data: {one_line(error)}", "Save a state dict of tensors."
        ) from error
    while isinstance(state, Mapping) and not any(isinstance(v, Tensor) for v in state.values()):
        inside = next((state[name] for name in _WRAPPERS if name in state), None)
        if inside is None:
            break
        state = inside
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path} holds no weights", "Save the network's state_dict().")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def along_checkpoints(
    model: nn.Module,
    states: Iterable[tuple[str, State | Path]],
    examples: Examples,
    kernel: Kernel,
    *,
    ranks: Sequence[int] = (10, 100, 1000),
    tell: Callable[[Snapshot], None] = lambda snapshots: None,
    keep: Callable[[str, Spectrum], None] = lambda name, spectrum: None,
) -> list[Snapshot]:
    """Measure a network at each of its checkpoints, the drift against the first.

    Args:
        model: Of the checkpoints' architecture; left as it is.
        states: Name and state dict, or file, of each. A file is one of ``torch.save`` that holds tensors only, alone or
            under ``model``, ``state_dict``, ``model_state_dict`` or ``parts``, or safetensors, where names that begin
            with ``network.`` lose that. No code in it is run.
        examples: What to measure on, the same for all.
        kernel: Takes the spectrum; see `network_kernel`.
        ranks: Numbers of leading directions.
        tell: Told each snapshot as it is there.
        keep: Handed each spectrum.

    Returns:
        A snapshot for each checkpoint.

    Raises:
        DataError: No checkpoints, or one that does not exist, cannot be read or does not fit the network.

    Example:
        >>> model, x = nn.Linear(3, 2), torch.randn(8, 3)
        >>> linear = lambda net, inputs: Spectrum.of(inputs @ inputs.T + 1)
        >>> found = along_checkpoints(
        ...     model, [("start", model.state_dict())], Examples(x, torch.arange(8) % 2, 2), linear, ranks=[2]
        ... )
        >>> found[0].name, found[0].ranks
        ('start', (2,))
    """
    twin, first, snapshots = copy.deepcopy(model).eval(), None, []
    for name, state in states:
        weights = read_state(Path(state)) if isinstance(state, str | Path) else state
        try:
            twin.load_state_dict(weights)
        except RuntimeError as error:
            raise DataError(
                f"checkpoint {name!r} does not fit the network: {one_line(error)}",
                "Give the network that it was saved from.",
            ) from error
        started = time.perf_counter()
        spectrum = kernel(twin, examples.inputs)
        seconds = time.perf_counter() - started
        keep(name, spectrum)
        snapshots.append(snapshot(name, twin, examples, spectrum, ranks=ranks, first=first, seconds=seconds))
        first = spectrum if first is None else first
        tell(snapshots[-1])
    if not snapshots:
        raise DataError("no checkpoints were given", "Give at least one.")
    return snapshots
