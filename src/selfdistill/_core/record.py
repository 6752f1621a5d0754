"""The run record, ``run.json``: everything needed to judge, repeat and resume a run. The wings meet only here."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from selfdistill._core.errors import RunError, SelfdistillError, one_line
from selfdistill._core.files import digest, read_json, write_json
from selfdistill._core.folder import inside
from selfdistill._core.record_paths import kept, usable
from selfdistill._core.run_record import SCHEMA, RunRecord
from selfdistill._version import __version__

__all__ = [
    "SCHEMA",
    "RunRecord",
    "content_digest",
    "environment",
    "read_finished",
    "read_json_record",
    "read_record",
    "read_versioned",
    "reading_record",
    "whole",
    "write_json_record",
    "write_record",
]

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


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, atomically, with the schema number first and a digest of the rest last.

    Args:
        folder: The run directory.
        record: What to write. Absolute paths are written relative to the run directory.
    """
    write_json_record(folder, record.as_json())


def write_json_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json`` as it is given, unchecked.

    Args:
        folder: The run directory.
        record: JSON-able values by name.
    """
    found = {"schema": SCHEMA} | kept(record, folder)
    found = {name: v for name, v in found.items() if name not in {"schema", "digest"}}
    found = {"schema": SCHEMA} | found
    write_json(folder / _FILE, found | {"digest": content_digest(found)})


def content_digest(value: Any) -> str:
    """SHA-256 of what JSON says, however it is spaced.

    Args:
        value: Anything that ``json`` takes.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def read_record(folder: Path) -> RunRecord:
    """Read ``run.json``; check that it is whole, that this version understands it, and its form.

    Args:
        folder: The run directory.

    Returns:
        The record, with paths that can be opened from here.

    Raises:
        RunError: No run there, not JSON, another schema, changed since it was written, or not of a record's form.
    """
    found = read_json_record(folder)
    try:
        return RunRecord.from_json(found)
    except ValueError as error:
        raise RunError(f"{folder / _FILE} is no record of a run: {one_line(error)}", "Run `fit` again.") from None


def read_json_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` as JSON; check that it is whole, but not its form.

    Args:
        folder: The run directory.

    Returns:
        JSON's values by name, with paths that can be opened from here.

    Raises:
        RunError: No run there, not JSON, another schema, or changed since it was written.
    """
    path = inside(folder, _FILE)
    if not path.is_file():
        raise RunError(
            f"{folder} is no run directory: it has no {_FILE}",
            "Give the folder that `fit` wrote to; where that was killed at once, start again with --out.",
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
    return usable(record, folder)


def read_finished(folder: Path) -> RunRecord:
    """Read the record of a run that must be finished.

    Args:
        folder: The run directory.

    Returns:
        The record.

    Raises:
        RunError: It failed, or is not finished; or see `read_record`.
    """  # noqa: DOC502 (raised by what is called)
    return read_record(folder).check_finished(folder)


def whole(folder: Path, name: str, *, again: str = "Run `fit` again.") -> Path:
    """Give the path of a file of a run, once it agrees with the digest in the run's record.

    A folder without a record, and runs of versions that kept no digests, have none to compare.

    Args:
        folder: The run directory.
        name: Of the file, relative to it.
        again: What to do where it is missing or differs.

    Returns:
        ``folder / name``.

    Raises:
        RunError: Missing, reached by a link that leads out, no file, or not the one that the run wrote.
    """
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
    """Read a JSON file and check that this version understands it.

    Args:
        path: The file.
        schema: The schema number that is understood, or several; the file holds its own under ``schema``.
        damaged: What to do where the file is not JSON.
        foreign: What to do where it has another schema.

    Returns:
        What it holds.

    Raises:
        RunError: Not JSON, or another schema; names the file, both schemas and the way out.
    """
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
    """Tell a record that cannot be read in one line; for code that does nothing else than look into one.

    Args:
        folder: The run directory.

    Yields:
        Nothing.

    Raises:
        RunError: Something in the record has not the form that a run writes.
    """  # noqa: DOC501 (all become one, but for our own)
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, SelfdistillError):
            raise
        path, what = folder / "run.json", f"{type(error).__name__} {one_line(error)}"
        raise RunError(f"{path} is no record of a run: {what}", "Run `fit` again.") from error
