"""Weights of single epochs, kept beside the run: candidates for who shall teach."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import atomic, made
from selfdistill._core.folder import inside
from selfdistill._core.record import whole
from selfdistill.train._state_checks import check_finite, check_types

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
