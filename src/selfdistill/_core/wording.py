"""Words for a terminal or a shell: names that cannot act there, and commands that go on. Loads no torch."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_ACTS = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # what moves the cursor, turns the direction, breaks the line or is half a letter
_JOINERS = "\u200c\u200d"  # parts of words and of emoji


def clean(text: str, keep: str = "") -> str:
    """Write characters that act instead of being seen as their numbers: all that is printed goes through here."""
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or c in _JOINERS or unicodedata.category(c) not in _ACTS else _numbered(c) for c in text
    )


def _numbered(char: str) -> str:
    pairs = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[i : i + 2].hex()}" for i in range(0, len(pairs), 2))


def cleaned(value: Any) -> Any:
    """Do the same to every text in a record."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(name)): cleaned(one) for name, one in value.items()}
    return [cleaned(one) for one in value] if isinstance(value, list | tuple) else value


def quoted(path: Path | str) -> str:
    """Write a path for a command that a user may copy into a shell: nothing in it is run."""
    return shlex.quote(str(path))


def short(name: object, most: int = 60) -> str:
    """Cut a long name for a message."""
    text = str(name)
    return text if len(text) <= most else text[: most - 3] + "..."


def listed(names: Iterable[Any], shown: int = 5, *, show: Callable[[Any], str] = repr, mark: str = ", ") -> str:
    """Write the first few names, and say how many there are."""
    names = list(names)
    return mark.join(map(show, names[:shown])) + (f", ... ({len(names):,} in all)" if len(names) > shown else "")


def ending(path: Path) -> str:
    """Say what a file's name ends in."""
    return f"{path} ends in {path.suffix!r}" if path.suffix else f"{path} has no ending"


GROUP = "SELFDISTILL_GROUP"
"""Names, in the environment, the folder that ``--processes`` made for the processes it started."""


def as_many() -> str:
    """Write the option that starts as many processes again, for a command that goes on."""
    count = os.environ.get("WORLD_SIZE", "1")
    return f" --processes {count}" if count != "1" and os.environ.get("LOCAL_WORLD_SIZE") == count else ""
