"""Commands from options dataclasses: what a field declares is what the command line offers. No option is named here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from selfdistill._core.options import Option, options_of

_Offered = tuple[Field[Any], Any, Option]
_NUMBERS: dict[type, tuple[str, str]] = {int: ("INTEGER", "a whole number"), float: ("FLOAT", "a number")}


@dataclass(frozen=True)
class Only:
    """Of an options dataclass, the fields that a command offers."""

    names: tuple[str, ...]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Let a function of options dataclasses take each of their fields as an option, as typer reads them."""
    hints = get_type_hints(function, include_extras=True)
    parts: dict[str, tuple[Any, dict[str, _Offered]]] = {}
    for name in inspect.signature(function).parameters:
        kind, *extra = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        only = next((one.names for one in extra if isinstance(one, Only)), None)
        declared = {one: found for one, found in options_of(kind).items() if found[1].help}
        offered = [one for one in fields(kind) if one.name in declared and (only is None or one.name in only)]
        parts[name] = kind, {one.name: (one, *declared[one.name]) for one in offered}

    def run(**given: Any) -> None:
        made = {}
        for name, (kind, offered) in parts.items():
            made[name] = kind(**{one: _value(given[one], field, option) for one, (field, _, option) in offered.items()})
        function(**made)

    parameters = [_parameter(*one) for _, offered in parts.values() for one in offered.values()]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer and `inspect` read it
    return run


def _parameter(field: Field[Any], kind: Any, option: Option) -> inspect.Parameter:
    """Write a field as typer wants it."""
    flag = option.flag or f"--{field.name.replace('_', '-')}"
    shown: dict[str, Any] = {"metavar": option.metavar, "help": option.help, "rich_help_panel": option.group or None}
    required = field.default is MISSING
    if get_origin(kind) is tuple:
        kind = list[str] | None
    elif option.parse is not None:
        kind = str | None
    elif bool in get_args(kind) and "/" not in flag:
        kind = bool
    number = next((one for one in (float, int) if one in (kind, *get_args(kind))), None)
    if number is not None:
        shown |= {"parser": partial(_number, number), "metavar": option.metavar or _NUMBERS[number][0]}
    empty = False if kind is bool else None
    default = empty if required or field.default == () else field.default
    where = (
        typer.Argument(show_default=False, **shown)
        if option.argument
        else typer.Option(flag, show_default=default is not None and default is not False, **shown)
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else default,
        annotation=Annotated[kind, where],
    )


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text[:40]!r} is not {_NUMBERS[kind][1]}") from error


def _value(value: Any, field: Field[Any], option: Option) -> Any:
    """Bring what typer gives to the field's own type; what was not said is its default."""
    if value is None or value == [] or (value is False and "/" not in option.flag):
        return None if field.default is MISSING else field.default
    if isinstance(value, list):
        return tuple(value)
    return option.parse(value) if option.parse is not None else value
