"""Checkpoints: written beside and renamed, with a digest, two kept, so that one is always whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import torch

from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import atomic, digest, read_json, write_json

__all__ = ["Stateful", "latest", "load", "save"]

_KEPT = 2
_NAME = re.compile(r"^step-(\d{9})\.pt$")


class Stateful(Protocol):
    """Anything with a state: a model, an optimizer, a schedule, targets."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take the state back."""
        ...


def save(folder: Path, step: int, parts: dict[str, Stateful], counters: dict[str, Any]) -> Path:
    """Write a checkpoint and drop all but the last two.

    Args:
        folder: Where checkpoints lie; made if missing.
        step: Steps done since the start of the run; names the file.
        parts: What has a state.
        counters: Plain values to keep with it.

    Returns:
        The file written. Its digest lies beside it as ``.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:09d}.pt"
    with atomic(path) as part:
        with part.open("wb") as file:  # given a path, torch would hide why it cannot write
            torch.save({"counters": counters, "parts": {name: p.state_dict() for name, p in parts.items()}}, file)
        checksum = {"sha256": digest(part), "bytes": part.stat().st_size}
    write_json(path.with_suffix(".json"), checksum)
    for old in _sorted(folder)[:-_KEPT]:
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)
    return path


def _sorted(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*.pt") if _NAME.match(p.name))


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint that is whole.

    Args:
        folder: Where checkpoints lie.

    Returns:
        The file, or ``None`` where there is none; and a sentence for each newer one that is damaged.
    """
    damaged: list[str] = []
    for path in reversed(_sorted(folder)):
        try:
            expected = read_json(path.with_suffix(".json"))
            if path.stat().st_size == expected["bytes"] and digest(path) == expected["sha256"]:
                return path, damaged
            damaged.append(f"checkpoint {path.name} is damaged: its digest differs.")
        except (OSError, ValueError, KeyError, TypeError):
            damaged.append(f"checkpoint {path.name} has no readable digest.")
    return None, damaged


def load(path: Path, parts: dict[str, Stateful], device: torch.device) -> dict[str, Any]:
    """Put the state of a checkpoint back. Only tensors and plain values are read, never code.

    Args:
        path: A file that `latest` found.
        parts: What had a state when it was saved.
        device: Where tensors go.

    Returns:
        The counters.

    Raises:
        RunError: The checkpoint does not fit these parts.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(content["parts"][name])
    except (RuntimeError, KeyError, ValueError) as error:
        raise RunError(
            f"{path} does not fit this run: {one_line(error)}", "Resume with the settings the run began with."
        ) from error
    return dict(content["counters"])
