"""What the user said on the command line, out of all that could be said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["READING", "said"]

READING = (
    "label",
    "id",
    "ignore",
    "truth",
    "text",
    "categorical",
    "numeric",
    "decimal",
    "thousands",
    "encoding",
    "annotator",
    "drop_unlabelled",
    "skip_bad",
    "image_size",
    "inputs",
    "labels",
)
"""Options of every command that reads data: fields of ``selfdistill.data.ReadOptions``."""


def said(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Keep what was said: the rest is chosen, or comes from the run that goes on.

    Args:
        options: Values by name, such as ``locals()`` at the head of a command.
        names: Which of them.

    Returns:
        Those that are not ``None``, an unset flag or an empty list.

    Example:
        >>> said({"label": "genre", "id": None, "skip_bad": False, "ignore": []}, ["label", "id", "skip_bad", "ignore"])
        {'label': 'genre'}
    """
    given = {name: options[name] for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None and value is not False and value != []
    }
