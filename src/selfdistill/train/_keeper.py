"""When checkpoints are written, and what Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from selfdistill._core.dist import barrier
from selfdistill._core.errors import Interrupted
from selfdistill.train import _checkpoint
from selfdistill.train._loop import Position
from selfdistill.train._runtime import Runtime

__all__ = ["Keeper"]

_CHECKPOINT_SECONDS = 10.0


class Keeper:
    """Saves at the end of epochs, at most every few seconds, and when the user presses Ctrl-C."""

    def __init__(
        self,
        folder: Path | None,
        parts: dict[str, Any],
        runtime: Runtime,
        steps: int,
        go_on: str,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.parts, self.runtime, self.steps, self.go_on = folder, parts, runtime, steps, go_on
        self.about = about
        self.saved = time.monotonic()
        self.stop = False

    def restore(self, position: Position) -> list[str]:
        """Go on from the newest whole checkpoint, if there is one.

        Args:
            position: Moved on in place.

        Returns:
            Warnings for the user.
        """
        if self.folder is None:
            return []
        path, warnings = _checkpoint.latest(self.folder)
        if warnings:
            used = f"{path.name} is used instead" if path else "none is left, so training begins anew"
            warnings = [*warnings, f"Of the checkpoints in {self.folder}, {used}."]
        if path is not None:
            counters = _checkpoint.load(path, self.parts, self.runtime.device, self.about)
            torch.set_rng_state(counters.pop("rng").cpu())
            cuda = counters.pop("cuda_rng")
            if cuda is not None:
                torch.cuda.set_rng_state(cuda.cpu(), self.runtime.device)
            vars(position).update(counters)
        return warnings

    def save(self, position: Position) -> None:
        """Write a checkpoint now.

        Args:
            position: How far training has come.
        """
        if self.folder is not None and self.runtime.rank == 0:
            cuda = torch.cuda.get_rng_state(self.runtime.device) if self.runtime.device.type == "cuda" else None
            counters = vars(position) | {"rng": torch.get_rng_state(), "cuda_rng": cuda}
            _checkpoint.save(self.folder, position.epoch * self.steps + position.step, self.parts, counters, self.about)
        barrier()
        self.saved = time.monotonic()

    def after_step(self, position: Position, epoch_ended: bool) -> None:
        """Save if due; many processes save at an epoch's end only, for before it their staged writes differ.

        Raises:
            Interrupted: Ctrl-C, after saving.
        """
        if self.folder is None or (self.runtime.world > 1 and not epoch_ended):
            return
        due = time.monotonic() - self.saved > _CHECKPOINT_SECONDS if self.runtime.world == 1 else epoch_ended
        if self.stop or due:
            self.save(position)
        if self.stop:
            raise Interrupted(f"stopped in epoch {position.epoch + 1}; everything so far is saved", self.go_on)

    @contextmanager
    def listening(self) -> Generator[None]:
        """Turn Ctrl-C into a request to stop after the step; a second one stops at once."""
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def request(number: int, frame: Any) -> None:
            self.stop = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
