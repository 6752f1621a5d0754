"""What a user can do, with options named as they are where the user is: ``--held-out``, or held_out in Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from string import Formatter
from typing import Any, Self


@dataclass(frozen=True)
class Door:
    """Where a text is read."""

    options: Collection[str] | None = None  # names of the options that exist there; `None`: all
    dashes: bool = False  # whether they are written --like-this, as on the command line; else `like_this`, as in Python
    flags: Mapping[str, str] = field(default_factory=dict)  # those that are written otherwise

    def name(self, option: str) -> str:
        """Write an option's name as a user does here."""
        usual = f"--{option.replace('_', '-')}" if self.dashes else f"`{option}`"
        return self.flags.get(option, usual)


_PAIR = re.compile(r"\{--([\w-]+)\} \{(\w+)(?:!r)?\}")
PYTHON, COMMAND_LINE = Door(), Door(dashes=True)


class Flag(str):
    """The name of an option, where only the running program knows it: a value of `Advice`."""

    __slots__ = ()


class Advice(str):
    """A sentence that names options, as alternatives: one is left out where an option that it names does not exist."""

    def __new__(cls, *ways: str, _finding: str = "", **values: Any) -> Self:
        self = super().__new__(cls, _written(ways, _finding, values, COMMAND_LINE))
        self._parts = ways, _finding, values
        return self

    _parts: tuple[tuple[str, ...], str, Mapping[str, Any]]

    def __add__(self, more: str) -> Advice:
        return Advice("{first}{more}", first=self, more=more)

    def __radd__(self, first: str) -> Advice:
        return Advice("{first}{more}", first=first, more=self)

    def __reduce__(self) -> tuple[Any, ...]:
        ways, finding, values = self._parts
        return partial(Advice.__new__, type(self), *ways, _finding=finding, **values), ()


class Notice(Advice):
    """Something that was found, and then what a user can do about it."""

    def __new__(cls, finding: str, *ways: str, **values: Any) -> Self:
        return super().__new__(cls, *ways, _finding=finding, **values)


def at(text: str, door: Door) -> str:
    """Write a text for a door, without the alternatives whose options do not exist there; "" if none is left."""
    return _written(*text._parts, door) if isinstance(text, Advice) else text


def _written(ways: tuple[str, ...], finding: str, values: Mapping[str, Any], door: Door) -> str:
    named = [_named(way, values) for way in ways]
    kept = [n for n, options in enumerate(named) if door.options is None or set(options.values()) <= set(door.options)]
    shown = {name: at(value, door) if isinstance(value, Advice) else value for name, value in values.items()}
    texts = [
        _assigned(ways[n], shown, door).format(
            **shown | {place: door.name(option) for place, option in named[n].items()}
        )
        for n in kept
    ]
    text = ", or ".join(texts)
    if finding:
        text = f"{finding}; {text}" if text else finding
    elif kept[:1] != [0]:
        text = text[:1].upper() + text[1:]
    cut = bool(ways) and kept[-1:] != [len(ways) - 1]
    return f"{text}." if cut and text and text[-1] not in ".?!" else text


def _assigned(way: str, values: Mapping[str, Any], door: Door) -> str:
    """Write an option and its value as Python takes them: ``{--label} {name}`` as ``label='a b'``."""

    def one(found: re.Match[str]) -> str:
        option, value = found[1].replace("-", "_"), values[found[2]]
        if not isinstance(value, str) or isinstance(value, Flag) or option in door.flags:
            return found[0]
        try:
            words = shlex.split(value)
        except ValueError:  # a quotation mark of its own
            words = []
        if len(words) == 1 and shlex.quote(words[0]) == value:
            value = words[0]
        return f"{option}={value!r}".replace("{", "{{").replace("}", "}}")

    return way if door.dashes else _PAIR.sub(one, way)


def _named(way: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Find the options that an alternative names, by the field of the template."""
    fields = [one for _, one, _, _ in Formatter().parse(way) if one]
    options = {one: one[2:].replace("-", "_") for one in fields if one.startswith("--")}
    return options | {one: values[one] for one in fields if isinstance(values.get(one), Flag)}
