"""``run.json`` on disk: written whole, read and checked, with paths relative to the run directory."""

from __future__ import annotations

import hashlib
import json
import os
import os.path
import platform
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from selfdistill._core.advice import Notice
from selfdistill._core.errors import RunError, SelfdistillError, one_line
from selfdistill._core.files import digest, read_json, write_json
from selfdistill._core.folder import inside
from selfdistill._core.run_record import SCHEMA, RunRecord
from selfdistill._version import __version__

_FILE = "run.json"
_PACKAGES = ("torch", "numpy", "scikit-learn", "pandas", "pyarrow", "safetensors", "pillow")


def environment(device: str) -> dict[str, Any]:
    """Describe what a run ran on."""
    versions = {"selfdistill": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    hardware = {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else _cpu_name(),
    }
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions, "hardware": hardware}


def _cpu_name() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor()


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, atomically, with the schema number first and a digest of the rest last."""
    write_json_record(folder, record.as_json())


def write_json_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` as it is given, unchecked."""
    entries = relative_paths(record, folder)
    found = {"schema": SCHEMA} | {name: value for name, value in entries.items() if name not in {"schema", "digest"}}
    write_json(folder / _FILE, found | {"digest": content_digest(found)})


def content_digest(value: Any) -> str:
    """SHA-256 of what JSON says, however it is spaced."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json``; check that it is whole, that this version understands it, and its form."""
    found = read_json_record(folder)
    try:
        return RunRecord.from_json(found)
    except ValueError as error:
        raise RunError(f"{folder / _FILE} is not a run record: {one_line(error)}", "Run `fit` again.") from None


def read_json_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` as JSON; check that it is whole, but not its form."""
    path = inside(folder, _FILE)
    if not path.is_file():
        raise RunError(
            f"{folder} is not a run directory: it has no {_FILE}",
            Notice("Give the folder that `fit` wrote to", "run `fit` again if it was stopped at once."),
        )
    record = read_versioned(
        path,
        (1, SCHEMA),
        damaged="Run `fit` again.",
        foreign="Use the version of selfdistill that wrote it, or run `fit` again.",
    )
    if record["schema"] == SCHEMA:
        wanted = record.pop("digest", None)
        if content_digest(record) != wanted:
            raise RunError(f"{path} is damaged, or was changed by hand: its digest differs", "Put back what it was.")
    return opened_paths(record, folder)


def read_finished(folder: Path) -> RunRecord:
    """Read the record of a run that must be finished."""
    return read_record(folder).check_finished(folder)


def whole(folder: Path, name: str, *, again: str = "Run `fit` again.") -> Path:
    """Give the path of a file of a run, once it agrees with the digest in the run's record."""
    path = inside(folder, name)
    if not path.is_file():
        raise RunError(f"{path} does not exist", again)
    record = read_record(folder) if (folder / _FILE).exists() else None
    if record is None or record.version != SCHEMA or record.status != "finished":
        return path
    wanted = record.files.get(name)
    if wanted is None or digest(path) != wanted:
        what = "was not written by this run" if wanted is None else "is damaged, or of another run: its digest differs"
        raise RunError(f"{path} {what}", again)
    return path


def read_versioned(path: Path, schema: int | tuple[int, ...], *, damaged: str, foreign: str) -> dict[str, Any]:
    """Read a JSON file and check that this version understands it."""
    try:
        record = read_json(path)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a ValueError, too
        raise RunError(f"{path} is damaged: {one_line(error)}", damaged) from error
    found = record.get("schema") if isinstance(record, dict) else None
    known = schema if isinstance(schema, tuple) else (schema,)
    if type(found) is not int or found not in known:
        reads = " or ".join(map(str, known))
        raise RunError(f"{path} has schema {found!r}, but this version reads schema {reads}", foreign)
    return dict(record)


@contextmanager
def reading_record(folder: Path) -> Generator[None]:
    """Tell a record that cannot be read in one line; for code that does nothing else than look into one."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, SelfdistillError):
            raise
        path, what = folder / "run.json", f"{type(error).__name__} {one_line(error)}"
        raise RunError(f"{path} is not a run record: {what}", "Run `fit` again.") from error


PATHS = (
    "data.source",
    "data.test",
    "data.read.labels",
    "settings.noise_matrix",
    "distillation.teacher.name",
    "distillation.asked.teacher",
    "distillation.asked.store",
    "distillation.asked.votes",
    "distillation.soft_labels.file",
    "distillation.soft_labels.teacher.name",
)
"""Where a run record holds a path as it was typed."""
_FROM_RUN = "paths_from_run"


def relative_paths(record: Mapping[str, Any], folder: Path, paths: Sequence[str] = PATHS) -> dict[str, Any]:
    """Make the absolute paths of a record relative to its run directory; those typed as relative ones stay."""
    base = folder.absolute()
    absolute = [name for name in paths if Path(_at(record, name) or "").is_absolute()]
    changed = _changed(record, absolute, lambda path: os.path.relpath(path, base))
    named = [name for name in paths if name in absolute or name in record.get(_FROM_RUN, ())]
    return {name: v for name, v in changed.items() if name != _FROM_RUN} | ({_FROM_RUN: named} if named else {})


def opened_paths(record: Mapping[str, Any], folder: Path, paths: Sequence[str] = PATHS) -> dict[str, Any]:
    """Undo `relative_paths`."""
    base = folder.absolute()
    named = [name for name in record.get(_FROM_RUN, ()) if name in paths and _at(record, name) is not None]
    changed = _changed(record, named, lambda path: os.path.normpath(base / path))
    return {name: value for name, value in changed.items() if name != _FROM_RUN}


def _at(record: Any, name: str) -> str | None:
    for part in name.split("."):
        record = record.get(part) if isinstance(record, Mapping) else None
    return record if isinstance(record, str) else None


def _changed(record: Mapping[str, Any], names: list[str], change: Callable[[str], str]) -> dict[str, Any]:
    """Copy a record with some of its texts changed."""
    found = dict(record)
    for name in names:
        *parents, last = name.split(".")
        place = found
        for part in parents:
            place[part] = dict(place[part])
            place = place[part]
        place[last] = change(place[last])
    return found
