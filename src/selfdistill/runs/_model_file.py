"""``model.safetensors`` and the weights of single epochs; data only, so a stranger's file runs no code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import atomic, json_text, made
from selfdistill._core.folder import inside
from selfdistill._core.record import whole
from selfdistill.data._preprocess import Preprocess
from selfdistill.networks._build import build
from selfdistill.networks._pretrained import Pretrained, rebuilt
from selfdistill.train._state_checks import check_finite, check_types

_FORMAT = "selfdistill-model-1"


@dataclass(frozen=True, eq=False)
class Model:
    """A network with what it takes to feed it.

    Attributes:
        network: In evaluation mode, on the CPU.
        preprocess: From raw data to inputs.
        classes: Names, in the order of the outputs.
        spec: The network's specification.
        input_shape: Shape of one input.
    """

    network: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    spec: str
    input_shape: tuple[int, ...]


def save_model(path: Path, model: Model) -> None:
    """Write a model, atomically. Its network must be one that ``networks.build`` makes from ``spec``."""
    described, tensors = model.preprocess.to_state()
    description = {
        "format": _FORMAT,
        "network": model.spec,
        "input_shape": list(model.input_shape),
        "classes": list(model.classes),
        "preprocess": described,
    }
    if isinstance(model.network, Pretrained):
        description["config"] = model.network.config
    weights = {f"network.{name}": t.detach().cpu().contiguous() for name, t in model.network.state_dict().items()}
    weights |= {f"preprocess.{name}": t.contiguous() for name, t in tensors.items()}
    # One entry only: safetensors writes several in an order of its own, and equal models must give equal bytes.
    metadata = {"description": json_text(description)}
    with atomic(path) as part:
        save_file(weights, part, metadata)


def load_model(path: Path) -> Model:
    """Read a model, and compare it with the record of its run. Memory follows the size of the file, not its claims."""
    again = "Run `fit` again, or `fit --resume RUN`, which finishes a run and writes anew what it lost."
    whole(path.parent, path.name, again=again)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        model = _assemble(json.loads(metadata["description"]), tensors)
    except ModuleNotFoundError as error:
        raise RunError(
            f"{path} holds a model of {error.name}, which is not installed", f"pip install {error.name}."
        ) from error
    except Exception as error:  # whatever the libraries make of a stranger's bytes
        raise RunError(f"{path} is damaged or was not written by selfdistill: {one_line(error)}", again) from error
    check_finite(path, tensors, again)
    return model


def _assemble(description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Model:
    if description["format"] != _FORMAT:
        raise ValueError(f"format {description['format']!r} instead of {_FORMAT!r}")
    shape, classes = tuple(map(int, description["input_shape"])), tuple(map(str, description["classes"]))
    kept = {n.removeprefix("preprocess."): t for n, t in tensors.items() if n.startswith("preprocess.")}
    preprocess = Preprocess.from_state(description["preprocess"], kept)
    if preprocess.input_shape != shape:
        raise ValueError(f"inputs of shape {preprocess.input_shape}, but a network for {shape}")
    weights = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    if len(weights) + len(kept) != len(tensors):
        raise ValueError("it holds tensors that are neither weights nor preprocessing")
    if "config" in description:
        network: nn.Module = rebuilt(description["config"], len(classes), weights)
    else:  # of shapes alone: nothing is allocated for what the description merely claims
        network = build(description["network"], shape, len(classes), seed=0, stats=preprocess.stats, device="meta")
    check_types(weights, network)
    network.load_state_dict(weights, assign=True)
    network.requires_grad_(False).eval()
    return Model(network, preprocess, classes, str(description["network"]), shape)


EPOCHS = "epochs"
"""Folder of a run directory that holds them."""
_NAME = re.compile(r"^epoch-(\d{4,})\.safetensors$")


def snapshot_epochs(keep: int | str | None, epochs: int) -> frozenset[int]:
    """Say which epochs are kept, counted from 1; the last is among them."""
    if keep is None:
        return frozenset()
    count = epochs if keep == "all" else min(int(keep), epochs)
    return frozenset(round((i + 1) * epochs / count) for i in range(count))


def save_snapshot(run: Path, epoch: int, model: nn.Module) -> Path:
    """Write a network's weights, atomically; an equal file that a killed run left is replaced."""
    path = made(run / EPOCHS) / f"epoch-{epoch:04d}.safetensors"
    with atomic(path) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}, part)
    return path


def epoch_snapshots(run: Path) -> dict[int, Path]:
    """Find the epochs that a run kept: files by epochs done, rising."""
    found = [
        (match, path) for path in inside(run, EPOCHS).glob("epoch-*.safetensors") if (match := _NAME.match(path.name))
    ]
    return dict(sorted((int(match[1]), path) for match, path in found))


def load_snapshot(path: Path, network: nn.Module) -> nn.Module:
    """Put the weights of an epoch into a network of the same shape; give it in evaluation mode."""
    again = "Take another epoch, or train again."
    whole(path.parent.parent, f"{path.parent.name}/{path.name}", again=again)
    try:
        weights = load_file(path)
        check_types(weights, network)
        network.load_state_dict(weights)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise RunError(f"{path} is damaged or of another network: {one_line(error)}", again) from error
    check_finite(path, weights, again)
    with torch.no_grad():
        return network.eval()
