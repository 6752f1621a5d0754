"""Advice names only options that exist where it is read, and stays a sentence."""

import ast
import inspect
import pickle
import re
from pathlib import Path

import pytest

import selfdistill
from selfdistill._core.advice import COMMAND_LINE, PYTHON, Advice, Door, Flag, Notice, at
from selfdistill._core.errors import DataError
from selfdistill._core.wording import quoted
from selfdistill.cli._app import _COMMANDS

_SOURCE = Path(selfdistill.__file__).parent
_RAW = re.compile(r"(?<![{-])--[a-z]")
_COMMAND = re.compile(r"selfdistill |pip install |hf download |`fit ")


def fill():
    return Advice("Fill them in", "leave these rows out with {--drop-unlabelled}.")


@pytest.mark.parametrize(
    ("advice", "options", "shown"),
    [
        (fill(), {"drop_unlabelled"}, "Fill them in, or leave these rows out with --drop-unlabelled."),
        (fill(), set(), "Fill them in."),
        (Advice("Leave it out with {--ignore} x", "flatten it first."), {"out"}, "Flatten it first."),
        (Notice("column 'id' is no feature", "{--id} to choose another."), set(), "column 'id' is no feature."),
        (Notice("it is odd", "{--a} x for one", "{--b} x for two."), {"b"}, "it is odd; --b x for two."),
        (Advice("Choose another {--label}."), set(), ""),
        (Advice("Leave {option} out.", option=Flag("held_out")), {"held_out"}, "Leave --held-out out."),
        (Advice("Leave {option} out.", option=Flag("held_out")), {"out"}, ""),
        (Advice("{first} Give {--id} too.", first=fill()), {"id"}, "Fill them in. Give --id too."),
        (fill() + Advice(" Give {--id} too."), {"id"}, "Fill them in. Give --id too."),
        ("Not a {--flag}. " + Advice("Give {--id} too.") + " {--x}", {"id"}, "Not a {--flag}. Give --id too. {--x}"),
        ("Go on with: selfdistill fit --resume run", set(), "Go on with: selfdistill fit --resume run"),
        ("", set(), ""),
    ],
)
def test_alternatives_without_their_option_are_left_out(advice, options, shown):
    assert at(advice, Door(options, dashes=True)) == shown


def test_in_python_options_are_arguments():
    advice = Advice("Lower {--weight-decay}.")
    assert (str(advice), at(advice, COMMAND_LINE), at(advice, PYTHON)) == (
        "Lower --weight-decay.",
        "Lower --weight-decay.",
        "Lower `weight_decay`.",
    )


@pytest.mark.parametrize("name", ["{--label}", "a, or --foo. But $(touch made)", "{0} {x!r} }{", "a; b", ""])
def test_words_of_strangers_part_no_alternatives_and_name_no_options(name):
    advice = Notice(f"{name} is odd", "{--ignore} {name} to leave it out", "{--text} {name}.", name=name)
    assert at(advice, Door({"ignore"}, dashes=True)) == f"{name} is odd; --ignore {name} to leave it out."
    assert at(advice, PYTHON) == f"{name} is odd; ignore={name!r} to leave it out, or text={name!r}."


def test_errors_and_advice_cross_process_borders():
    error = DataError(Advice("no column {name!r} ({--truth})", name="a{b"), fill())
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == f"no column 'a{{b' (`truth`). {at(fill(), PYTHON)}"
    door = Door({"truth"}, dashes=True)
    assert copy.at(door) == error.at(door) == "no column 'a{b' (--truth). Fill them in."
    assert type(pickle.loads(pickle.dumps(Notice("x", "{--id}.")))) is Notice


def test_an_error_names_the_option_at_fault_as_its_door_does():
    error = DataError("skip_bad is 2", "Leave {--skip-bad} out.", param="skip_bad")
    assert (str(error), error.at(COMMAND_LINE)) == (
        "skip_bad is 2. Leave {--skip-bad} out.",
        "--skip-bad is 2. Leave {--skip-bad} out.",
    )


def _strings(tree):
    """Texts that the source writes, with the line: no docstrings, no help of options."""
    hidden = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", []), list) else []:
            if isinstance(statement, ast.Expr):
                hidden.add(statement.value)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Option", "typer.Option"}:
            hidden.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            hidden.update(part for part in ast.walk(node) if part is not node)
            if node not in hidden:
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values), node
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in hidden:
            yield node.value, node


@pytest.mark.parametrize("file", sorted(_SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(_SOURCE)))
def test_texts_leave_the_names_of_options_to_the_door(file):
    tree = ast.parse(file.read_text())
    options = {name for command in _COMMANDS for name in inspect.signature(command).parameters}
    door = file.parent.name == "cli"
    for text, node in _strings(tree):
        raw = _RAW.search(text) and not _COMMAND.search(text)
        where = f"{file.relative_to(_SOURCE)}:{node.lineno}: {text}"
        assert door or not raw or text.startswith(" --"), f"{where}\nwrite {{--option}} in Advice"
        for flag in re.findall(r"\{--([a-z-]+)\}", text):
            assert flag.replace("-", "_") in options | {"exclude_clean", "no_learn"}, f"{where}\nno such option"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if (kind := ast.unparse(call.func)) in {"Advice", "Notice", "Note", "column_error", "column_note"}:
            ways = call.args[{"Advice": 0, "column_error": 2, "column_note": 2}.get(kind, 1) :]
            assert not any(isinstance(way, ast.JoinedStr) for way in ways), (
                f"{file}:{call.lineno}: f-string as template"
            )


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "$HOME"])
def test_an_option_with_its_value_reads_as_what_is_typed(name):
    advice = Advice("Did you mean {--image-column} {name}?", name=quoted(name))
    assert at(advice, COMMAND_LINE) == f"Did you mean --image-column {quoted(name)}?"
    assert at(advice, PYTHON) == f"Did you mean image_column={name!r}?"
