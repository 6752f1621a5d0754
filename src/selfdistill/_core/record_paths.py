"""Paths in a file's description: absolute ones are kept relative to its folder, so that no file names a machine's."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["PATHS", "kept", "usable"]

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


def kept(record: Mapping[str, Any], folder: Path, paths: Sequence[str] = PATHS) -> dict[str, Any]:
    """Make the absolute paths of a record relative to its run directory; those typed as relative ones stay.

    Args:
        record: With paths as they are used, or as this wrote them for the same folder.
        folder: The run directory, or the folder of another file that this describes.
        paths: Where the record may hold paths.

    Returns:
        A record that holds no absolute path; ``paths_from_run`` names those that were made relative.

    Example:
        >>> kept({"data": {"source": "/data/songs.csv", "test": "test.csv"}}, Path("/runs/songs-001"))["data"]
        {'source': '../../data/songs.csv', 'test': 'test.csv'}
    """
    base = folder.absolute()
    absolute = [name for name in paths if Path(_at(record, name) or "").is_absolute()]
    changed = _changed(record, absolute, lambda path: os.path.relpath(path, base))
    named = [name for name in paths if name in absolute or name in record.get(_FROM_RUN, ())]
    return {name: v for name, v in changed.items() if name != _FROM_RUN} | ({_FROM_RUN: named} if named else {})


def usable(record: Mapping[str, Any], folder: Path, paths: Sequence[str] = PATHS) -> dict[str, Any]:
    """Undo `kept`.

    Args:
        record: As it was written.
        folder: The folder, where it is now.
        paths: As given to `kept`.

    Returns:
        The record with paths that can be opened.

    Example:
        >>> written = kept({"data": {"source": "/data/songs.csv"}}, Path("/runs/songs-001"))
        >>> usable(written, Path("/runs/songs-001"))
        {'data': {'source': '/data/songs.csv'}}
    """
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
