"""Options as type checkers and editors see them. Run as a program, this file makes their types."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

import selfdistill
from selfdistill._core import arguments
from selfdistill._core.air_options import AirOptions
from selfdistill._core.options import options_of
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import Settings

KINDS = {"FitArguments": (ReadOptions, Settings), "AirArguments": (AirOptions,)}
HEAD = '''"""Options as keyword arguments, for type checkers; made by ``python -m tests._core.test_arguments``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict
'''


def written(kind: Any, metavar: str) -> str:
    """A type as an argument has it: a path may be a `Path`, a list one text."""
    if get_origin(kind) is tuple:
        return "str | Sequence[str]"
    names = [one.__name__ for one in (get_args(kind) if isinstance(kind, UnionType) else (kind,))]
    if metavar in {"FILE", "FOLDER"}:
        names.insert(1, "Path")
    return " | ".join("None" if name == "NoneType" else name for name in names)


def generated() -> str:
    parts = [HEAD]
    for name, kinds in KINDS.items():
        parts.append(f'\n\nclass {name}(TypedDict, total=False):\n    """See {listed(kinds)}."""\n\n')
        for kind in kinds:
            parts += [f"    {one}: {written(type_, o.metavar)}\n" for one, (type_, o) in options_of(kind).items()]
    return "".join(parts)


def listed(kinds: tuple[type, ...]) -> str:
    return " and ".join(f"`{kind.__name__}`" for kind in kinds)


def test_they_are_generated_anew_when_an_option_changes():
    hint = "run: python -m tests._core.test_arguments"
    assert Path(arguments.__file__).read_text(encoding="utf-8") == generated(), hint


def test_every_option_is_an_argument():
    options = [one.name for kind in KINDS["FitArguments"] for one in fields(kind)]
    assert list(arguments.FitArguments.__annotations__) == options
    assert list(arguments.AirArguments.__annotations__) == [one.name for one in fields(AirOptions)]


@pytest.mark.parametrize(
    ("function", "kinds"), [(selfdistill.fit, "FitArguments"), (selfdistill.Run.air, "AirArguments")]
)
def test_signature_and_help_list_the_options_with_their_defaults(function, kinds):
    parameters = inspect.signature(function).parameters
    for kind in KINDS[kinds]:
        for one in fields(kind):
            assert parameters[one.name].default == one.default
            assert parameters[one.name].kind is inspect.Parameter.KEYWORD_ONLY
            assert f"{one.name}: " in pydoc.render_doc(function)
    assert inspect.Parameter.VAR_KEYWORD not in {one.kind for one in parameters.values()}


CALLS = """
from pathlib import Path
import selfdistill

selfdistill.fit("x.csv", epochs=3, ignore="a", text=["b"], labels=Path("l.csv"), keep_epochs="all", decisions="d.csv")
selfdistill.fit("x.csv", epoch=3)
selfdistill.fit("x.csv", epochs="3")
selfdistill.load("run").air(rank=5)
selfdistill.load("run").air(ranks=5)
"""


def test_a_type_checker_refuses_what_does_not_exist(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "calls.py").write_text(CALLS)
    source = Path(selfdistill.__file__).parents[1]
    command = [sys.executable, "-m", "mypy", "--config-file", source.parent / "pyproject.toml", "calls.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(source), "PATH": ""}, capture_output=True, text=True
    )
    lines = [line.partition(": error: ") for line in done.stdout.splitlines() if ": error: " in line]
    assert [(place, problem.split("  [")[0]) for place, _, problem in lines] == [
        ("calls.py:6", 'Unexpected keyword argument "epoch" for "fit"; did you mean "epochs"?'),
        ("calls.py:7", 'Argument "epochs" to "fit" has incompatible type "str"; expected "int | None"'),
        ("calls.py:9", 'Unexpected keyword argument "ranks" for "air" of "Run"; did you mean "rank"?'),
    ], done.stdout + done.stderr


if __name__ == "__main__":
    Path(arguments.__file__).write_text(generated(), encoding="utf-8")
