"""The measures along saved checkpoints of a network."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfdistill._core.errors import DataError, one_line
from selfdistill.air._snapshot import Examples, Kernel, Snapshot, snapshot
from selfdistill.theory import Spectrum

__all__ = ["along_checkpoints", "read_state"]

_WRAPPERS = ("parts", "model", "state_dict", "model_state_dict")

State = Mapping[str, Tensor]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network from a file; no code in it is run.

    Args:
        path: A file of ``torch.save`` that holds tensors only, alone or under ``model``, ``state_dict``,
            ``model_state_dict`` or ``parts``; or a ``.safetensors`` file, where names that begin with ``network.``
            lose that.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        DataError: Not there, not readable, or without weights.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", "Name a checkpoint file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
            inner = {name.removeprefix("network."): t for name, t in found.items() if name.startswith("network.")}
            return inner or dict(found)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"{path} is not readable as data: {one_line(error)}", "Save a state dict of tensors."
        ) from error
    while isinstance(found, Mapping) and not any(isinstance(v, Tensor) for v in found.values()):
        inside = next((found[name] for name in _WRAPPERS if name in found), None)
        if inside is None:
            break
        found = inside
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        raise DataError(f"{path} holds no weights", "Save the network's state_dict().")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def along_checkpoints(
    model: nn.Module,
    states: Iterable[tuple[str, State | Path]],
    examples: Examples,
    kernel: Kernel,
    *,
    ranks: Sequence[int] = (10, 100, 1000),
    tell: Callable[[Snapshot], None] = lambda found: None,
    keep: Callable[[str, Spectrum], None] = lambda name, spectrum: None,
) -> list[Snapshot]:
    """Measure a network at each of its checkpoints, the drift against the first.

    Args:
        model: Of the checkpoints' architecture; left as it is.
        states: Name and state dict, or file, of each; see `read_state`.
        examples: What to measure on, the same for all.
        kernel: Takes the spectrum; see `network_kernel`.
        ranks: Numbers of leading directions.
        tell: Told each snapshot as it is there.
        keep: Handed each spectrum.

    Returns:
        A snapshot for each checkpoint.

    Raises:
        DataError: No checkpoints, or one that does not fit the network.

    Example:
        >>> from selfdistill.theory import Spectrum
        >>> model, x = nn.Linear(3, 2), torch.randn(8, 3)
        >>> linear = lambda net, inputs: Spectrum.of(inputs @ inputs.T + 1)
        >>> found = along_checkpoints(
        ...     model, [("start", model.state_dict())], Examples(x, torch.arange(8) % 2, 2), linear, ranks=[2]
        ... )
        >>> found[0].name, found[0].ranks
        ('start', (2,))
    """
    twin, first, found = copy.deepcopy(model).eval(), None, []
    for name, state in states:
        weights = read_state(state) if isinstance(state, Path) else state
        try:
            twin.load_state_dict(weights)
        except RuntimeError as error:
            raise DataError(f"checkpoint {name!r} does not fit the network: {one_line(error)}",
                            "Give the network that it was saved from.") from error  # fmt: skip
        begun = time.perf_counter()
        spectrum = kernel(twin, examples.inputs)
        seconds = time.perf_counter() - begun
        keep(name, spectrum)
        found.append(snapshot(name, twin, examples, spectrum, ranks=ranks, first=first, seconds=seconds))
        first = spectrum if first is None else first
        tell(found[-1])
    if not found:
        raise DataError("no checkpoints were given", "Give at least one.")
    return found
