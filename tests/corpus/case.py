"""One file of the corpus: how it is made, and what must come out."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfdistill._core.advice import COMMAND_LINE
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill.data._labelled import LabelledData
from selfdistill.data._read import read, read_test

LABELS = list("abaabbabbaab")
"""Labels of the usual rows."""
X = [0.5, 2.5, 1.5, 4.5, 3.5, 6.5, 2.5, 8.5, 7.5, 1.5, 9.5, 3.5]
Z = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
N = len(LABELS)
NUMERIC = {"numeric": ("x", "z"), "categorical": (), "text": ()}


def columns() -> dict[str, list[Any]]:
    """The usual table: two columns of numbers and a label."""
    return {"x": list(X), "z": list(Z), "label": list(LABELS)}


def rows() -> list[list[str]]:
    """The same as cells of text, the header first."""
    return [["x", "z", "label"], *([str(a), str(b), c] for a, b, c in zip(X, Z, LABELS, strict=True))]


def lines(mark: str = ",", end: str = "\n", table: Sequence[Sequence[str]] | None = None) -> str:
    """The same as a text."""
    return end.join(mark.join(row) for row in (rows() if table is None else table)) + end


@dataclass(frozen=True)
class Case:
    """A file and what it is read as.

    Attributes:
        group: Heading on the page of what is read.
        name: What it is.
        source: What the user types, within a folder of its own.
        make: Writes it into that folder.
        options: Fields of `ReadOptions`; strings that are files are taken within the folder.
        labels: What must be read as labels, in order; ``None``: not looked at.
        kinds: Columns by kind of a table, or the shape of an example.
        says: What notes and warnings must hold, each once; there must be no other warning.
        test: Labels of the official test part, if there must be one.
        error: What the one line must hold, instead.
        needs: A library without which it cannot be tried.
        shown: Whether the page shows it.
        check: More to look at.
    """

    group: str
    name: str
    source: str
    make: Callable[[Path], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] | None = tuple(LABELS)
    kinds: Any = field(default_factory=lambda: dict(NUMERIC))
    says: Sequence[str] = ()
    test: Sequence[str] | None = None
    error: str = ""
    needs: str = ""
    shown: bool = False
    check: Callable[[LabelledData], Any] = lambda data: None

    def command(self) -> str:
        """The command line."""
        words = [f"selfdistill fit {self.source}"]
        for name, value in self.options.items():
            flag = f"--{name.replace('_', '-')}"
            values = value if isinstance(value, tuple) else (value,)
            words += [flag] if value is True else [f"{flag} {one}" for one in values]
        return " ".join(words)


def run(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the file, read it, and compare."""
    if case.needs and importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    monkeypatch.chdir(folder)
    case.make(folder)
    options = ReadOptions(**case.options)
    if case.error:
        with pytest.raises(DataError) as refused:
            read(case.source, options)
        shown = refused.value.at(COMMAND_LINE)
        assert case.error in shown, shown
        assert "\n" not in shown
        assert refused.value.hint
        return
    data = read(case.source, options)
    if case.labels is not None:
        assert [data.classes[code] for code in data.labels.tolist()] == list(case.labels)
    made = data.preprocess
    kinds = made.kinds if isinstance(case.kinds, Mapping) else tuple(data.inputs.shape[1:])
    wanted = dict(case.kinds) if isinstance(case.kinds, Mapping) else case.kinds
    assert kinds == wanted, (kinds, wanted, data.notes, data.warnings)
    left = list(data.warnings)
    for part in case.says:
        found = [one for one in (*data.notes, *data.warnings) if part in one]
        assert len(found) == 1, (part, data.notes, data.warnings)
        with contextlib.suppress(ValueError):
            left.remove(found[0])
    assert not left, left
    assert np.isfinite(data.inputs.numpy()).all()
    found_test = read_test(None, data, options, source=case.source)
    tested = None if found_test is None else [data.classes[code] for code in found_test[1].tolist()]
    assert tested == (None if case.test is None else list(case.test))
    case.check(data)
