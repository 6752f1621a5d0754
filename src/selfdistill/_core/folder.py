"""Files of a folder that may be a stranger's: none is opened by a link that leads out of it, none that is no file."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, RunError

_PART = re.compile(r"^\..+\.[a-z0-9_]{8}\.part$")


def inside(folder: Path, name: str) -> Path:
    """Give the path of a file of a folder, which may be missing."""
    path, problem = folder / name, ""
    try:
        real = path.resolve()
        if not real.is_relative_to(folder.resolve()):
            problem = f"is a link that leads out of its folder, to {real}"
        elif not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISDIR(mode)):
            problem = "is not a regular file"
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError) as error:  # a circle of links is a RuntimeError before Python 3.13
        problem = f"cannot be followed: {error}"
    if problem:
        raise RunError(f"{path} {problem}", "Remove it, or put the file itself there.")
    return path


def check_folder(folder: Path) -> None:
    """Check everything in a folder, at any depth, before something is written there."""
    for where, folders, files in os.walk(folder):  # links to folders are named, not followed
        for name in (*folders, *files):
            inside(folder, os.path.relpath(Path(where, name), folder))


def named_folder(parent: Path, name: str) -> Path:
    """Give the folder that is called by a name, such as that of a class, which may be a stranger's."""
    if Path(name).name != name or name in {"", ".", ".."} or "\0" in name or "\\" in name:
        raise DataError(f"{name!r} cannot be the name of a folder", Advice("Write a list instead: {--out} FILE.csv."))
    return parent / name


def is_part(path: Path) -> bool:
    """Tell whether a file is half of one that `atomic` began, left by a process that died."""
    return bool(_PART.match(path.name)) and path.is_file() and not path.is_symlink()


def clear_parts(folder: Path) -> None:
    """Remove what writers that died left half written, at any depth. The caller holds the folder's lock."""
    for where, _, files in os.walk(folder):
        for path in (Path(where, name) for name in files):
            if is_part(path):
                path.unlink(missing_ok=True)
