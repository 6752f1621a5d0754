"""What a person decided about labels: a journal beside the run, one line of JSON for each step, never rewritten."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError, RunError, one_line
from selfdistill._core.files import json_text, translate_disk_full

try:
    import fcntl
except ImportError:  # not on this platform: nothing is locked there
    fcntl = None  # type: ignore[assignment]

_FORMAT = "selfdistill decisions"
_BEGINNING = json_text({"format": _FORMAT})[:-1].encode()
_AGAIN = Advice("Move it away", "name another file with {--decisions}.")
_OVER = "Move it away; `selfdistill review RUN --take FILE` brings decisions over by the names of the examples."
_KINDS = ("label", "unsure", "skip")


@dataclass(frozen=True)
class Step:
    """One key press."""

    n: int  # number of its line, from 1
    kind: str  # `"label"`; `"unsure"`: nobody can say; `"skip"`: to come back to
    rows: tuple[int, ...]  # examples that it decides on, by position
    labels: tuple[str, ...] = ()  # their labels; empty where the kind is another


@dataclass
class Decided:
    """What holds after all steps."""

    labels: dict[int, str] = field(default_factory=dict)  # label of each decided example, by position
    unsure: set[int] = field(default_factory=set)  # examples that nobody can say
    # examples to come back to, in the order in which they were skipped
    skipped: dict[int, None] = field(default_factory=dict)
    done: list[Step] = field(default_factory=list)  # steps that were not undone

    def take(self, step: Step) -> None:
        """Apply a step: the last word on an example holds."""
        self.done.append(step)
        for i, row in enumerate(step.rows):
            self.labels.pop(row, None)
            self.unsure.discard(row)
            self.skipped.pop(row, None)
            if step.kind == "label":
                self.labels[row] = step.labels[i]
            elif step.kind == "unsure":
                self.unsure.add(row)
            else:
                self.skipped[row] = None

    def without_last(self) -> Decided:
        """Give what held before the last step."""
        found = Decided()
        for step in self.done[:-1]:
            found.take(step)
        return found


def journal_path(run: Path) -> Path:
    """Give the place of a run's journal: beside the run, which is never changed."""
    folder = run if run.name not in {"", ".."} else run.resolve()
    return folder.with_name(f"{folder.name}.decisions.jsonl")


def labels_digest(given: Iterable[str]) -> str:
    """Digest of given labels in their order: what tells whether rows that have only numbers are the same."""
    return hashlib.sha256(json_text([str(one) for one in given]).encode()).hexdigest()


class Journal:
    """A journal open for writing, by this process alone."""

    # Each line is on disk before `add` or `undo` returns. A last line that a killed process left torn is cut off.

    def __init__(
        self,
        path: Path,
        run: str,
        ids: Sequence[str],
        classes: Sequence[str],
        about: Mapping[str, str] = MappingProxyType({}),
        numbered: bool = False,
    ) -> None:
        self.path, self._run, self._ids, self._classes = path, run, ids, frozenset(classes)
        self._handle = _opened(path)
        try:
            content = os.pread(self._handle, os.fstat(self._handle).st_size, 0)
            whole = content[: content.rfind(b"\n") + 1]
            if not whole and not content.startswith(_BEGINNING[: len(content)]):
                raise RunError(f"{path} is not a file of decisions", _AGAIN)
            own = {"run": run, "examples": len(ids), **about}
            names = {row: str(name) for row, name in enumerate(ids)}
            check = partial(_check_run, path, own, numbered=numbered)
            self.decided, self.version = _replayed(path, whole, names, len(ids), self._classes, check)
            os.ftruncate(self._handle, len(whole))
            if not whole:
                self._append({"format": _FORMAT, "version": 1, **own})
                _sync_folder(path.parent)
        except BaseException:
            os.close(self._handle)
            raise

    def add(self, kind: str, rows: Iterable[int], labels: Iterable[str] = ()) -> Step:
        """Write a step down: its kind, see `Step`, the rows, and their labels if it is ``"label"``."""
        step = Step(self.version + 1, kind, tuple(rows), tuple(labels))
        _check(step, len(self._ids), self._classes)
        names = [str(self._ids[row]) for row in step.rows]
        line: dict[str, Any] = {"n": step.n, "time": _now(), "kind": kind, "rows": list(step.rows), "ids": names}
        self._append(line | ({"labels": list(step.labels)} if step.labels else {}))
        self.version = step.n
        self.decided.take(step)
        return step

    def undo(self) -> Step | None:
        """Take the last step back that still holds, by a line of its own; ``None`` if none is left."""
        if not self.decided.done:
            return None
        step = self.decided.done[-1]
        self._append({"n": self.version + 1, "time": _now(), "kind": "undo", "of": step.n})
        self.version += 1
        self.decided = self.decided.without_last()
        return step

    def _append(self, line: Mapping[str, Any]) -> None:
        """Write one line after the others, and wait for the disk; half of one is taken back."""
        end = os.fstat(self._handle).st_size
        data = json_text(line).encode() + b"\n"
        with translate_disk_full(self.path):
            try:
                if os.pwrite(self._handle, data, end) != len(data):
                    raise OSError(28, "No space left on device")
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, end)
                raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)


def read_header(path: Path) -> dict[str, Any]:
    """Read what a journal is about: ``run`` and ``examples``; ``name``, ``data`` and ``labels`` where it has them."""
    again = RunError(f"{path} is not a file of decisions", _AGAIN)
    try:
        with path.open("rb") as file:
            found: dict[str, Any] = json.loads(file.readline())
    except ValueError as error:
        raise again from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT or not {"run", "examples"} <= set(found):
        raise again
    return found


def read_journal(path: Path) -> list[tuple[str, str | None]]:
    """Read names and labels of the decided examples, in the order of their first decision; ``None``: unsure."""
    content, names = path.read_bytes(), dict[int, str]()
    decided, _ = _replayed(path, content[: content.rfind(b"\n") + 1], names)
    return [(name, decided.labels.get(row)) for row, name in names.items() if row in {*decided.labels, *decided.unsure}]


def _replayed(
    path: Path,
    content: bytes,
    names: dict[int, str],
    n: int | None = None,
    classes: frozenset[str] | None = None,
    check: Callable[[Mapping[str, Any]], None] = lambda header: None,
) -> tuple[Decided, int]:
    """Go through whole lines; give what holds, and how many steps and undos there are."""
    # ``names`` of the examples, by position, must be those of the journal; it gets those that it does not have.
    decided, version = Decided(), 0
    for number, line in enumerate(content.splitlines()):
        try:
            found = json.loads(line)
            if number == 0:
                if found["format"] != _FORMAT or found["version"] != 1:
                    raise ValueError("its first line is not that of a journal")
                check(found)
                continue
            version += 1
            if found["n"] != version:
                raise ValueError(f"step {version} is missing")
            if found["kind"] == "undo":
                if not decided.done or decided.done[-1].n != found["of"]:
                    raise ValueError(f"it takes back step {found['of']}, which is not the last")
                decided = decided.without_last()
                continue
            step = Step(version, found["kind"], tuple(found["rows"]), tuple(found.get("labels", ())))
            _check(step, n, classes)
            if any(names.setdefault(row, name) != name for row, name in zip(step.rows, found["ids"], strict=True)):
                raise ValueError("its examples are others")
            decided.take(step)
        except RunError:
            raise
        except (ValueError, KeyError, TypeError, IndexError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else one_line(error)
            raise RunError(f"line {number + 1} of {path} cannot be used: {what}", _AGAIN) from error
    return decided, version


def _check_run(path: Path, own: Mapping[str, Any], header: Mapping[str, Any], *, numbered: bool) -> None:
    """Refuse decisions about another run, with the way to bring them over where there is one."""
    if header["run"] != own["run"]:
        other = " ".join(str(header.get("name", header["run"])).split())
        elsewhere = numbered and header.get("data") != own.get("data")
        raise RunError(
            f"{path} holds decisions about another run ({other!r})"
            + (f", not about {own['name']!r}" if "name" in own else "")
            + (", whose data are others, and rows are named by numbers" if elsewhere else ""),
            _AGAIN if elsewhere else _OVER,
        )
    if header["examples"] != own["examples"]:
        raise RunError(f"{path} is about {header['examples']:,} examples, but there are {own['examples']:,}", _AGAIN)


def _check(step: Step, n: int | None, classes: frozenset[str] | None) -> None:
    if step.kind not in _KINDS:
        raise DataError(f"{step.kind!r} is not a kind of decision", f"Give {', '.join(_KINDS)} or undo.")
    for row in step.rows:
        if not isinstance(row, int) or not 0 <= row < (row + 1 if n is None else n):
            raise DataError(f"there is no example {row!r}", f"Give {'0 or more' if n is None else f'0 to {n - 1}'}.")
    if len(step.labels) != (len(step.rows) if step.kind == "label" else 0):
        raise DataError(f"there are {len(step.labels)} labels for {len(step.rows)} examples", "Give each one.")
    for label in step.labels:
        if classes is not None and label not in classes:
            raise DataError(f"{label!r} is not a class of the run", "Give one that it has.")


def _opened(path: Path) -> int:
    """Open or make the file, not through a link, and lock it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise RunError(f"{path} cannot be opened: {error.strerror}", _AGAIN) from error
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise RunError(
                f"{path} is in use by another `selfdistill review`",
                "Use its page, in as many windows as you like, or stop it first.",
            ) from None
        except OSError:
            pass  # the file system has no locks
    return handle


def _sync_folder(folder: Path) -> None:
    """See to it that a new file's name is on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
