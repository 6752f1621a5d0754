"""Every error that selfdistill raises on purpose, as one tree.

    SelfdistillError
    ├── InputError (ValueError)      something given is wrong; nothing was started, nothing was written
    │   ├── DataError                the data: file, column, label, image, feature
    │   ├── SettingError             a setting: name, range, combination
    │   └── RunError                 a run directory: occupied, of another schema, damaged, of other data
    ├── ResourceError (OSError)      the machine: no room on disk, no such device
    └── Interrupted                  the user stopped a run; it is saved and says how to go on

Each message has the value, the limit, and the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = [
    "DataError",
    "InputError",
    "Interrupted",
    "ReliabilityWarning",
    "ResourceError",
    "RunError",
    "SelfdistillError",
    "SettingError",
    "one_line",
]


def one_line(error: BaseException, limit: int = 300) -> str:
    """Put another library's message on one line.

    Args:
        error: What was raised.
        limit: Longest result, in characters.

    Returns:
        The message without line breaks, cut at ``limit``.

    Example:
        >>> one_line(ValueError("two" + chr(10) + "lines"))
        'two lines'
    """
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class SelfdistillError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: What is wrong, with the value found and the limit it breaks.
        hint: What the user can do about it; one sentence, imperative.
        param: The option at fault, as a parameter in Python is named; ``None`` where it is no option.

    Example:
        >>> str(SelfdistillError("epochs is 0, but must be at least 1", "Pass epochs=1 or more.", param="epochs"))
        'epochs is 0, but must be at least 1. Pass epochs=1 or more.'
    """

    exit_code = 2

    def __init__(self, problem: str, hint: str = "", *, param: str | None = None) -> None:
        self.problem = problem.rstrip(".")
        self.hint = hint
        self.param = param
        super().__init__(f"{self.problem}. {hint}" if hint else f"{self.problem}.")

    def problem_for(self, name: Callable[[str], str]) -> str:
        """Give the problem with the option at fault named as it is where the user gave it.

        Args:
            name: From the parameter's name to that of the option, such as ``--held-out``.

        Returns:
            The problem.

        Example:
            >>> SettingError("held_out is 2, but must be in (0, 1)", param="held_out").problem_for(lambda n: f"--{n}")
            '--held_out is 2, but must be in (0, 1)'
        """
        if self.param is None or not self.problem.startswith(f"{self.param} "):
            return self.problem
        return name(self.param) + self.problem[len(self.param) :]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the arguments, so that errors cross process borders."""
        return partial(type(self), param=self.param), (self.problem, self.hint)


class ReliabilityWarning(UserWarning):
    """The findings on the labels should not be trusted, or not for all classes; the text says why."""


UntrustedFindings = ReliabilityWarning  # its name before


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
        return str(Exception.__str__(self)) if not self.hint else f"{self.problem}. {self.hint}"


class Interrupted(SelfdistillError):  # noqa: N818  (the field's word for it, and it is no failure)
    """The user stopped a run; what was done is saved."""

    exit_code = 130
