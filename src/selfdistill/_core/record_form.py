"""The form of a run record, checked where it is read, so that those who use it need not look."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfdistill._core.errors import RunError, SelfdistillError, one_line

__all__ = ["misfit", "reading_record"]

Check = Callable[[Any], bool]
_LARGE = 1e100  # no number of a run; beyond, sums and products are infinite


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and abs(value) < _LARGE)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _none(value: Any) -> bool:
    return value is None


def _any(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _each(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


_READ = dict.fromkeys(("label", "id", "truth", "decimal", "thousands", "encoding"), _any(_text, _none)) | {
    **dict.fromkeys(("ignore", "text", "categorical", "numeric", "annotator"), _list(_text)),
    **dict.fromkeys(("drop_unlabelled", "skip_bad"), _flag),
    "image_size": _any(_whole, _none),
    **dict.fromkeys(("inputs", "labels"), _any(_text, _none)),
}
_DATA = {
    "source": _any(_text, _none),
    "test": _any(_text, _none),
    "read": lambda value: _table(value) and all(name in _READ and _READ[name](v) for name, v in value.items()),
    "examples": lambda value: _whole(value) and value > 0,
    "classes": _list(_text),
    "given_counts": _list(_whole),
    "input_shape": _list(_whole),
    "fingerprint": _text,
    "counts": _each(_whole),
    "seed": _whole,
}
_SETTINGS = {
    **dict.fromkeys(("method", "network", "augment", "device", "precision"), _text),
    **dict.fromkeys(("epochs", "batch_size"), lambda value: _whole(value) and value > 0),
    **dict.fromkeys(("lr", "lr_warmup", "weight_decay", "momentum"), _number),
    **dict.fromkeys(("noise_rate", "held_out"), _any(_number, _none)),
    "seed": _whole,
    "compile": _flag,
    "noise_matrix": _any(_text, _none),
    "keep_epochs": _any(_whole, _text, _none),
    "kernel": _text,
    **dict.fromkeys(("landmarks", "rounds"), _any(_whole, _none)),
}
_RECORD: dict[str, Check] = {
    "status": lambda value: value in ("running", "interrupted", "finished", "failed"),
    "id": _text,
    "error": _text,
    "versions": _each(_text),
    "hardware": _table,
    "created": _text,
    "resumed": _list(lambda value: _table(value) and _each(_text)(value.get("versions"))),
    "files": _each(_text),
    "paths_from_run": _list(_text),
    "warnings": _list(_text),
    "notes": _list(_text),
    "noise": _any(_table, _none),
    "curves": _each(_list(_number)),
    "result": _table,
    "trust": lambda value: _table(value) and _list(_text)(value.get("sentences")),
    "distillation": _table,
    "comparison": _table,
    "closed": _table,
}
_NEEDED = {
    "": ("status", "settings", "data", "warnings", "notes"),
    "data": ("examples", "classes", "input_shape", "fingerprint"),
    "settings": ("method", "network", "epochs", "batch_size", "seed", "lr", "momentum", "device"),
    "curves": ("loss", "agreement", "refined_share", "lr"),
}


def misfit(record: Mapping[str, Any]) -> str | None:
    """Say what in a record has not the form that a run writes.

    Args:
        record: What ``run.json`` holds.

    Returns:
        A few words, or ``None`` where nothing is wrong.

    Example:
        >>> misfit({"status": "done", "settings": {}, "data": {}, "warnings": [], "notes": []})
        "status is 'done'"
    """
    parts = {
        "": (record, _RECORD),
        "settings": (record.get("settings"), _SETTINGS),
        "data": (record.get("data"), _DATA),
    }
    if record.get("status") == "finished":
        parts["curves"] = (record.get("curves"), {})
    for where, (part, checks) in parts.items():
        if not isinstance(part, dict):
            return f"{where} is {part!r:.60}"
        for name, value in part.items():
            if name in checks and not checks[name](value):
                return f"{f'{where}.' if where else ''}{name} is {value!r:.60}"
        needed = ("loss",) if where == "curves" and record["settings"].get("method") == "kernel" else _NEEDED[where]
        missing = [name for name in needed if name not in part]
        if missing:
            return f"{f'{where}.' if where else ''}{missing[0]} is missing"
    return _odd_lengths(record)


def _odd_lengths(record: Mapping[str, Any]) -> str | None:
    """Each epoch has its place in each curve."""
    if record["status"] != "finished":
        return None
    if record["settings"]["method"] == "kernel":
        return None if "result" in record else "result is missing"
    lengths = {len(curve) for curve in record["curves"].values()}
    if lengths != {record["settings"]["epochs"]} or "result" not in record:
        return "curves are not of as many epochs as the settings say" if "result" in record else "result is missing"
    return None


@contextmanager
def reading_record(folder: Path) -> Generator[None]:
    """Tell a record that cannot be read in one line; for code that does nothing else than look into one.

    Args:
        folder: The run directory.

    Yields:
        Nothing.

    Raises:
        RunError: Something in the record has not the form that a run writes.
    """  # noqa: DOC501 (all become one, but for our own)
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, SelfdistillError):
            raise
        path, what = folder / "run.json", f"{type(error).__name__} {one_line(error)}"
        raise RunError(f"{path} is no record of a run: {what}", "Run `fit` again.") from error
