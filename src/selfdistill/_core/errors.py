"""Every error that selfdistill raises on purpose, as one tree.

    SelfdistillError
    ├── InputError (ValueError)      something given is wrong; nothing was started, nothing was written
    │   ├── DataError                the data: file, column, label, image, feature
    │   ├── SettingError             a setting: name, range, combination
    │   └── RunError                 a run directory: occupied, of another schema, damaged, of other data
    ├── ResourceError (OSError)      the machine: no room on disk, no such device
    └── Interrupted                  the user stopped a run; it is saved and says how to go on

Each message has the value, the limit and what to do.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from selfdistill._core.advice import PYTHON, Advice, Door, at


def one_line(error: BaseException, limit: int = 300) -> str:
    """Put another library's message on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class SelfdistillError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 2

    def __init__(self, problem: str, hint: str = "", *, param: str | None = None) -> None:
        self.problem = problem if isinstance(problem, Advice) else problem.rstrip(".")
        self.hint = hint
        self.param = param
        super().__init__(self.at(PYTHON))

    def at(self, door: Door) -> str:
        """Give the message with options named as they are where the user gave them."""
        problem, hint = at(self.problem, replace(door, options=None)), at(self.hint, door)
        if door.dashes and self.param is not None and problem.startswith(f"{self.param} "):
            problem = door.name(self.param) + problem[len(self.param) :]
        return f"{problem}. {hint}" if hint else f"{problem}."

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments, so that errors cross process borders."""
        return partial(type(self), param=self.param), (self.problem, self.hint)


class ReliabilityWarning(UserWarning):
    """The findings on the labels should not be trusted, or not for all classes; the text says why."""


class InputError(SelfdistillError, ValueError):
    """Something given is wrong; nothing was started and nothing was written."""


class DataError(InputError):
    """The data are wrong: a file, column, label, image or feature."""


class SettingError(InputError):
    """A setting is wrong: an unknown name, a value out of range, a combination that makes no sense."""


class RunError(InputError):
    """A run directory cannot be used: occupied, of another schema, damaged, or of other data."""


class ResourceError(SelfdistillError, OSError):
    """The machine cannot do it: no room on disk, no such device."""

    def __str__(self) -> str:
        """Return the message; ``OSError`` would show the two arguments as errno and text."""
        return self.at(PYTHON)


class Interrupted(SelfdistillError):  # noqa: N818  (the field's word for it, and it is no failure)
    """The user stopped a run; what was done is saved."""

    exit_code = 130
