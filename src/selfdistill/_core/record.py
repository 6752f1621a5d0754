"""The run record, ``run.json``: everything needed to judge, repeat and resume a run. The wings meet only here."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from selfdistill._core.errors import RunError, one_line
from selfdistill._core.files import read_json, write_json
from selfdistill._version import __version__

__all__ = ["SCHEMA", "environment", "read_record", "read_versioned", "write_record"]

SCHEMA = 1
_FILE = "run.json"
_PACKAGES = ("torch", "numpy", "scikit-learn", "pandas", "pyarrow", "safetensors", "pillow")


def environment(device: str) -> dict[str, Any]:
    """Describe what a run ran on.

    Args:
        device: The torch device used.

    Returns:
        ``created`` (UTC), ``versions`` and ``hardware``, fit for JSON.
    """
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
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(info) if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``run.json``, atomically, with the schema number first.

    Args:
        folder: The run directory.
        record: What to write; see ``docs/run-directory.md``.
    """
    write_json(folder / _FILE, {"schema": SCHEMA} | record)


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` and check that this version understands it.

    Args:
        folder: The run directory.

    Returns:
        The record.

    Raises:
        RunError: No run there, not JSON, or another schema.
    """
    path = folder / _FILE
    if not path.is_file():
        raise RunError(f"{folder} is no run directory: it has no {_FILE}", "Give the folder that `fit` wrote to.")
    return read_versioned(
        path,
        SCHEMA,
        damaged="Run `fit` again.",
        foreign="Use the version of selfdistill that wrote it, or run `fit` again.",
    )


def read_versioned(path: Path, schema: int, *, damaged: str, foreign: str) -> dict[str, Any]:
    """Read a JSON file and check that this version understands it.

    Args:
        path: The file.
        schema: The schema number that is understood; the file holds its own under ``schema``.
        damaged: What to do where the file is not JSON.
        foreign: What to do where it has another schema.

    Returns:
        What it holds.

    Raises:
        RunError: Not JSON, or another schema; names the file, both schemas and the way out.
    """
    try:
        record = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {one_line(error)}", damaged) from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != schema:
        raise RunError(f"{path} has schema {found!r}, but this version reads schema {schema}", foreign)
    return dict(record)
