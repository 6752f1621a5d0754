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

from selfdistill._core.dist import barrier, sum_over_processes
from selfdistill._core.errors import Interrupted
from selfdistill.train import _checkpoint
from selfdistill.train._loop import Position
from selfdistill.train._runtime import TorchRuntime
from selfdistill.train._state_checks import check_position

_CHECKPOINT_SECONDS = 10.0
_AGREE_SECONDS = 5.0  # about how often many processes ask one another whether one of them shall stop


class CheckpointManager:
    """Saves at the end of epochs, at most every few seconds, and when the user presses Ctrl-C."""

    def __init__(
        self,
        folder: Path | None,
        parts: dict[str, Any],
        runtime: TorchRuntime,
        length: tuple[int, int],
        go_on: str,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.parts, self.runtime, self.go_on = folder, parts, runtime, go_on
        self.epochs, self.steps = length
        self.about = about
        self.saved = time.monotonic()
        self.stop = False
        self.asked, self.since, self.every = self.saved, 0, 1

    def restore(self, position: Position) -> list[str]:
        """Go on from the newest whole checkpoint, if there is one."""
        if self.folder is None:
            return []
        warnings, unfit, used = [], None, "none is left, so training begins anew"
        for path, problem in _checkpoint.newest(self.folder):
            try:
                counters = None if problem else self._load(path)
            except _checkpoint.Unfit as error:
                problem, unfit = f"cannot be used: {error.problem}", unfit or error
            if problem:
                warnings.append(f"checkpoint {path.name} {problem}.")
                continue
            vars(position).update(counters or {})
            used, unfit = f"{path.name} is used instead", None
            break
        if unfit is not None:  # whole, but of no use: what is wrong is not the disk
            raise unfit
        return [*warnings, f"Of the checkpoints in {self.folder}, {used}."] if warnings else []

    def _load(self, path: Path) -> dict[str, Any]:
        """Put a checkpoint's states back, and those of the random generators."""
        rng: dict[str, Any] = {}

        def check(counters: dict[str, Any], states: dict[str, Any]) -> None:
            rng.update({name: counters.pop(name) for name in ("rng", "cuda_rng")})
            check_position(counters, states, self.epochs, self.steps)
            torch.set_rng_state(rng["rng"].cpu())
            if rng["cuda_rng"] is not None:
                torch.cuda.set_rng_state(rng["cuda_rng"].cpu(), self.runtime.device)

        return _checkpoint.load(path, self.parts, self.runtime.device, self.about, check)

    def save(self, position: Position) -> None:
        """Write a checkpoint now."""
        if self.folder is not None and self.runtime.rank == 0:
            cuda = torch.cuda.get_rng_state(self.runtime.device) if self.runtime.device.type == "cuda" else None
            counters = vars(position) | {"rng": torch.get_rng_state(), "cuda_rng": cuda}
            _checkpoint.save(self.folder, position.epoch * self.steps + position.step, self.parts, counters, self.about)
        barrier()
        self.saved = time.monotonic()

    def after_step(self, position: Position, epoch_ended: bool) -> None:
        """Save if due; many processes save at an epoch's end only, for before it their staged writes differ."""
        if self.folder is None:
            return
        if self.runtime.world > 1:
            stop = self._agreed(epoch_ended)
            if not epoch_ended:
                if stop:
                    raise Interrupted(f"stopped in epoch {position.epoch + 1}; the last checkpoint is kept", self.go_on)
                return
        else:
            stop = self.stop
        if stop or self.runtime.world > 1 or time.monotonic() - self.saved > _CHECKPOINT_SECONDS:
            self.save(position)
        if stop:
            raise Interrupted(f"stopped in epoch {position.epoch + 1}; everything so far is saved", self.go_on)

    def _agreed(self, epoch_ended: bool) -> bool:
        """Say whether all processes stop, for one of them shall: alone it would leave the others waiting."""
        self.since += not epoch_ended
        if not epoch_ended and self.since < self.every:
            return False
        now = time.monotonic()
        state = torch.tensor([float(self.stop), now - self.asked], device=self.runtime.device)
        stop, seconds = sum_over_processes(state).tolist()
        if self.since:  # all have taken as many steps, and know the same seconds
            self.every = max(1, round(self.since * _AGREE_SECONDS * self.runtime.world / max(seconds, 1e-3)))
        self.asked, self.since = now, 0
        return bool(stop > 0)

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
