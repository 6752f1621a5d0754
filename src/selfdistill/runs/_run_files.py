"""Files of a run beside its record: metrics as it goes, digests at the end, and what changed where it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import final

from selfdistill._core.advice import Advice
from selfdistill._core.errors import RunError
from selfdistill._core.events import EpochDone, Event, Listener, RunStarted
from selfdistill._core.files import atomic, digest, translate_disk_full
from selfdistill._core.folder import inside
from selfdistill._core.lock import LOCK, check_held
from selfdistill._core.record import read_record
from selfdistill._core.run_record import RunRecord
from selfdistill.runs._model_file import EPOCHS
from selfdistill.train import _checkpoint

_PRODUCTS = ("labels.parquet", "model.safetensors", "metrics.jsonl")
_OTHER_VERSIONS = "Resumed with "
_OF_FAILED = {"run.json", "metrics.jsonl", "soft_labels.safetensors", "checkpoint", EPOCHS, LOCK}


def products(out: Path) -> dict[str, str]:
    """Take the digests of the files that lie in a run directory itself."""
    files = (p for p in sorted(out.iterdir()) if p.is_file() and p.name not in {"run.json", LOCK})
    return {path.name: digest(path) for path in files}


def lost(out: Path, record: RunRecord) -> list[str]:
    """Name the files that a finished run no longer holds as it wrote them."""
    wanted = record.files
    missing = [
        name
        for name in _PRODUCTS
        if not inside(out, name).is_file() or (name in wanted and digest(out / name) != wanted[name])
    ]
    if record.settings.method == "kernel":  # it is computed anew
        return missing
    if missing and all(problem for _, problem in _checkpoint.newest(inside(out, "checkpoint"))):
        raise RunError(
            f"{out} lost {' and '.join(missing)}, and has no whole checkpoint to write them from",
            Advice("Start a new run with another {--out}."),
        )
    return missing


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


def other_versions(found: RunRecord, now: RunRecord) -> RunRecord:
    """Note where a run goes on under other versions than it last had: its result may then be that of neither."""
    before = (found.resumed[-1] if found.resumed else found).versions
    changed = {name: (before.get(name), v) for name, v in now.versions.items() if before.get(name) != v}
    if not changed:
        return found
    changes = ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in changed.items())
    resumed = {"created": now.created, "versions": now.versions, "hardware": now.hardware}
    warning = f"{_OTHER_VERSIONS}{changes}: results may differ from those of an uninterrupted run."
    return found.updated(resumed=[*found.resumed, resumed], warnings=[*found.warnings, warning])


def telling(record: RunRecord, tell: Listener) -> Listener:
    """Say at the start of training what the record warns of because the run goes on."""
    earlier = tuple(text for text in record.warnings if text.startswith(_OTHER_VERSIONS))

    def telling(event: Event) -> None:
        tell(replace(event, warnings=(*earlier, *event.warnings)) if isinstance(event, RunStarted) else event)

    return telling


def clear_failed(out: Path) -> None:
    """Take away what a run that failed has left, its record last. The caller holds the folder's lock."""
    if has_failed(out):
        for part in ("checkpoint", EPOCHS):
            shutil.rmtree(out / part, ignore_errors=True)
        for path in out.iterdir():
            if path.name not in {LOCK, "run.json"} and path.is_file():
                path.unlink()
        (out / "run.json").unlink()


def has_failed(out: Path) -> bool:
    """Say whether a folder holds a run that failed, and nothing that is not of a run."""
    names = {item.name for item in out.iterdir()}
    if "run.json" not in names or not names <= _OF_FAILED:
        return False
    with suppress(RunError):
        return read_record(out).status == "failed"
    return False
