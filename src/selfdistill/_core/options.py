"""How an option is declared: a dataclass field with an `Option`. Command line, checks and records follow from it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

from selfdistill._core.errors import SettingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
Named = TypeVar("Named", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """What a field of an options dataclass accepts, and how the command line offers it. Loads no library."""

    metavar: str  # stands for the value in `--help`
    help: str  # what `--help` says
    group: str = ""  # heading in `--help`; "": none
    flag: str = ""  # name on the command line; by default that of the field. `--yes/--no` for a switch with two names
    argument: bool = False  # whether the value is given by its place, without a name
    low: float | None = None  # least value
    high: float | None = None  # largest value
    above: float | None = None  # values must be larger than this
    below: float | None = None  # values must be smaller than this
    choices: tuple[str, ...] = ()  # the words that are accepted; any, if empty
    hint: str = "Leave it out."  # what to do about a value out of range
    parse: Callable[[str], Any] | None = None  # from the text typed to the value, where the type alone does not say

    def problem(self, value: float) -> str | None:
        """Say which limit a number breaks."""
        low = self.low if self.above is None else self.above
        high = self.high if self.below is None else self.below
        small = low is not None and (value < low or (self.above is not None and value == low))
        large = high is not None and (value > high or (self.below is not None and value == high))
        if isinstance(value, Integral):
            return f"must be at least {low:,}" if small else f"must be at most {high:,}" if large else None
        if not small and not large and math.isfinite(value):
            return None
        if low is not None and high is not None:
            opening, closing = "[" if self.above is None else "(", "]" if self.below is None else ")"
            return f"must be in {opening}{low:g}, {high:g}{closing}"
        if low is None:
            return "must be finite"
        return f"must be finite and {'at least' if self.above is None else 'above'} {low:g}"


def options_of(kind: type[Any]) -> dict[str, tuple[Any, Option]]:
    """Read the declarations of an options dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    parts = {one.name: get_args(hints[one.name]) for one in fields(kind)}
    return {name: (part[0], part[1]) for name, part in parts.items() if len(part) > 1 and isinstance(part[1], Option)}


def _set_options(options: DataclassInstance) -> dict[str, Any]:
    """Give the options that differ from their defaults."""
    values = ((one, getattr(options, one.name)) for one in fields(options))
    return {one.name: value for one, value in values if value != one.default}


def explicit_options(options: DataclassInstance) -> dict[str, Any]:
    """Give the options that were set, as JSON holds them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in _set_options(options).items()}


def options_from(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make options from values as JSON or Python holds them: a text for a list of one, a `Path` for its text."""
    several = {one.name for one in fields(kind) if one.default == ()}

    def made(name: str, value: Any) -> Any:
        if isinstance(value, str | Path):
            return (str(value),) if name in several else str(value)
        return tuple(value) if isinstance(value, Sequence) else value

    return kind(**{name: made(name, value) for name, value in values.items() if value is not None})


def listing_options(*kinds: type[Any]) -> Callable[[Named], Named]:
    """Let the signature of a function list the fields of options dataclasses in the place of its ``**options``."""

    def listing(function: Named) -> Named:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=types[one.name][0]
            )
            for kind in kinds
            for types in [options_of(kind)]
            for one in fields(kind)
        ]
        function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return function

    return listing


def overlaid(earlier: T, now: T) -> T:
    """Lay what is asked now over what was asked before."""
    return replace(earlier, **_set_options(now))


def check_options(options: Any) -> None:
    """Refuse values of another type or out of range."""
    for name, (kind, option) in options_of(type(options)).items():
        value = getattr(options, name)
        if value is None or bool in get_args(kind) or kind is bool:
            continue
        if option.choices and value not in option.choices:
            raise SettingError(f"{name} is {value!r}", f"Choose one of {', '.join(option.choices)}.", param=name)
        types = {kind, *get_args(kind)}
        if str in types or not types & {int, float}:
            continue
        number, words = (Integral, "a whole number") if int in types else (Real, "a number")
        if isinstance(value, bool) or not isinstance(value, number):
            raise SettingError(
                f"{name} is {value!r}, a {type(value).__name__}, but must be {words}",
                f"Pass {words}, or leave {name} out.",
                param=name,
            )
        if problem := option.problem(cast(float, value)):
            raise SettingError(f"{name} is {value}, but {problem}", option.hint, param=name)


def number_or_word(text: str) -> int | str:
    """Read a value such as ``5`` or ``all``."""
    return int(text) if text.isdecimal() else text
