"""``metrics.jsonl``: what each epoch measured, readable while training goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import final

from selfdistill._core.events import EpochDone, Event, RunStarted
from selfdistill._core.files import atomic, translate_disk_full
from selfdistill._core.lock import check_held

__all__ = ["MetricsFile"]


@final
class MetricsFile:
    """Appends one line of JSON per epoch; a resumed run first writes anew those that its checkpoint knows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            with atomic(self.path) as part:
                part.write_text("".join(self.line(epoch, metrics) for epoch, metrics in enumerate(event.curves)))
        elif isinstance(event, EpochDone):
            with translate_disk_full(self.path), self.path.open("r+") as file:  # never made anew, in another's folder
                check_held(self.path)  # so that what is open is ours
                file.seek(0, os.SEEK_END)
                file.write(self.line(event.epoch, event.metrics))

    @staticmethod
    def line(epoch: int, metrics: Mapping[str, float]) -> str:
        return json.dumps({"epoch": epoch} | dict(metrics)) + "\n"
