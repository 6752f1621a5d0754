"""Checkpoints: written beside and renamed, with a digest, two kept, so that one is always whole."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import atomic, digest, made, read_json, write_json
from selfdistill._core.folder import inside
from selfdistill._core.lock import check_held
from selfdistill._core.record import read_record
from selfdistill.train._state_checks import fitting

_KEPT = 2
_NAME = re.compile(r"^step-(\d{9})\.pt$")


def save(
    folder: Path,
    step: int,
    parts: dict[str, Any],
    counters: dict[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint and drop all but the last two."""
    path = made(folder) / f"step-{step:09d}.pt"
    with atomic(path) as part:
        with part.open("wb") as file:  # given a path, torch would hide why it cannot write
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"about": dict(about or {}), "counters": counters, "parts": states}, file)
        checksum = {"sha256": digest(part), "bytes": part.stat().st_size}
    write_json(path.with_suffix(".json"), checksum)
    for old in _sorted(folder)[:-_KEPT]:
        check_held(old)
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)
    return path


def _sorted(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*.pt") if _NAME.match(p.name))


def newest(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Go through the checkpoints, the newest first."""
    for path in reversed(_sorted(folder)):
        yield path, _problem(path)


def _problem(path: Path) -> str | None:
    """Say what is wrong with a checkpoint's bytes."""
    try:
        inside(path.parent, path.with_suffix(".json").name)
        inside(path.parent, path.name)
    except RunError as error:
        return f"cannot be used: {error.problem}"
    try:
        expected = read_json(path.with_suffix(".json"))
        same = path.stat().st_size == expected["bytes"] and digest(path) == expected["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "has no readable digest"
    return None if same else "is damaged: its digest differs"


def load(
    path: Path,
    parts: dict[str, Any],
    device: torch.device,
    about: Mapping[str, Any] | None = None,
    check: Callable[[dict[str, Any], dict[str, Any]], None] = lambda counters, states: None,
) -> dict[str, Any]:
    """Put the state of a checkpoint back. Only tensors and plain values are read, never code."""
    try:
        content = _content(path, device)
        differ = _differ(dict(content.get("about", {})), about or {})
        states, model = {}, parts["model"].state_dict()
        for name, part in parts.items() if differ is None else ():
            states[name] = fitting(name, content["parts"][name], part, model)
        counters = dict(content["counters"])
        if differ is None:
            check(counters, states)
        for name, state in states.items():
            parts[name].load_state_dict(state)
    except Exception as error:  # whatever torch makes of a stranger's bytes
        raise Unfit(
            f"{path} does not fit this run: {one_line(error)}", "Resume with the settings the run began with."
        ) from error
    if differ is not None:
        raise RunError(
            f"{path} was written with {differ}",
            Advice("Put the record back as it was", "start a new run with another {--out}."),
        )
    return counters


def _content(path: Path, device: torch.device) -> Any:
    """Read what a checkpoint holds, which takes as much memory as the file says by its size."""
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed, as torch writes none")
    return torch.load(path, map_location=device, weights_only=True)


class Unfit(RunError):  # noqa: N818 (as the others)
    """A checkpoint that is whole, but none of this run's."""


def _differ(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say the first thing that both tell of themselves, each in its own way."""
    for name in sorted(found.keys() & wanted.keys()):
        if isinstance(found[name], dict) and isinstance(wanted[name], dict):
            inner = _differ(found[name], wanted[name])
            if inner is not None:
                return inner
        elif found[name] != wanted[name]:
            return f"{name} = {found[name]!r}, but the run's record says {wanted[name]!r}"
    return None


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Find the checkpoints of a run: files by steps done, rising."""
    return {int(path.stem.removeprefix("step-")): path for path in _sorted(folder)}


def load_checkpoint(path: Path, network: nn.Module) -> nn.Module:
    """Put the weights of ``RUN/checkpoint/step-….pt`` into a network of the same shape, in evaluation mode."""
    again, run = "Take another checkpoint, or train again.", path.parent.parent
    inside(run, path.parent.name)
    problem = _problem(path)
    if problem is not None:
        raise RunError(f"{path} {problem}", again)
    owner = {"id": read_record(run).id} if (run / "run.json").exists() else {}
    try:
        content = _content(path, torch.device("cpu"))
        differ = _differ(dict(content.get("about", {})), owner)
        network.load_state_dict(fitting("model", content["parts"]["model"], network, {}))
    except Exception as error:  # whatever torch makes of a stranger's bytes
        raise RunError(f"{path} holds no weights of this network: {one_line(error)}", again) from error
    if differ is not None:
        raise RunError(f"{path} is of another run: it was written with {differ}", again)
    return network.eval()
