"""Commands follow from options dataclasses: a field is all that a new option takes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from selfdistill._core.advice import COMMAND_LINE
from selfdistill._core.errors import SettingError
from selfdistill._core.options import Option, check_options, explicit_options, number_or_word, options_from, options_of
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.settings import ResolvedSettings, Settings
from selfdistill.cli import main
from selfdistill.cli._command import Only, command
from selfdistill.networks._kernel_machine import KERNELS


@dataclass(frozen=True, kw_only=True)
class Fruit:
    name: Annotated[str, Option("NAME", "Which fruit.", argument=True)]
    ripe: Annotated[float, Option("SHARE", "How ripe.", "Taste", low=0, below=1)] = 0.5
    seeds: Annotated[int | None, Option("N", "How many seeds.", "Taste", low=1, high=9)] = None
    near: Annotated[tuple[str, ...], Option("NAME", "Beside it.", flag="--with")] = ()
    peeled: Annotated[bool, Option("", "Without its peel.")] = False
    cut: Annotated[bool | None, Option("", "Cut or whole.", flag="--cut/--whole")] = None
    pieces: Annotated[int | str | None, Option("all|N", "Pieces.", parse=number_or_word)] = None
    hidden: Annotated[int, Option("N", "")] = 3
    where: Annotated[Path | None, Option("FOLDER", "Where it lies.")] = None


@pytest.fixture
def call():
    eaten = []

    def eat(fruit: Fruit, read: Annotated[ReadOptions, Only(("label",))]) -> None:
        """Eat a fruit."""
        eaten.append((fruit, read))

    app = typer.Typer()
    app.command()(command(eat))

    def called(*words):
        return CliRunner().invoke(app, list(words)), eaten

    return called


@pytest.mark.parametrize(
    ("words", "fruit"),
    [
        ([], {}),
        (["--ripe", "0.9", "--seeds", "0"], {"ripe": 0.9, "seeds": 0}),
        (["--with", "a", "--with", "b", "--peeled"], {"near": ("a", "b"), "peeled": True}),
        (["--cut"], {"cut": True}),
        (["--whole"], {"cut": False}),
        (["--pieces", "4"], {"pieces": 4}),
        (["--pieces", "all", "--where", "here"], {"pieces": "all", "where": Path("here")}),
    ],
)
def test_values_reach_the_dataclass_and_what_is_not_said_is_its_default(call, words, fruit):
    result, eaten = call("pear", *words)
    assert result.exit_code == 0, result.output
    assert eaten == [(Fruit(name="pear", **fruit), ReadOptions())]


def test_help_groups_defaults_and_what_is_not_offered(call):
    shown = call("--help")[0].output
    assert "Taste" in shown
    assert "--ripe" in shown
    assert "[default: 0.5]" in shown
    assert "--label" in shown
    assert not {"--hidden", "--truth", "--no-peeled"} & set(shown.split())


def test_a_misspelt_option_is_answered_with_the_nearest(call):
    result, eaten = call("pear", "--rip", "1")
    assert result.exit_code == 2
    assert "--ripe" in result.output
    assert not eaten


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"ripe": 1.0}, r"ripe is 1.0, but must be in \[0, 1\)"),
        ({"ripe": float("nan")}, "ripe is nan, but must be in"),
        ({"ripe": True}, "ripe is True, a bool, but must be a number"),
        ({"seeds": 10}, "seeds is 10, but must be at most 9"),
        ({"seeds": 2.0}, "seeds is 2.0, a float, but must be a whole number"),
    ],
)
def test_ranges_follow_from_the_same_field(value, words):
    with pytest.raises(SettingError, match=words) as refused:
        check_options(Fruit(name="pear", **value))
    assert refused.value.param == next(iter(value))
    assert refused.value.at(COMMAND_LINE).startswith(f"--{next(iter(value))} is ")


def test_options_survive_json():
    asked = ReadOptions(label="a", ignore=("b", "c"), skip_bad=True)
    assert explicit_options(asked) == {"label": "a", "ignore": ["b", "c"], "skip_bad": True}
    assert options_from(ReadOptions, explicit_options(asked)) == asked


def test_one_name_counts_as_a_list_of_one():
    several = ("ignore", "text", "categorical", "numeric", "annotator")
    made = options_from(ReadOptions, dict.fromkeys((*several, "label"), "mean radius"))
    assert made == ReadOptions(**dict.fromkeys(several, ("mean radius",)), label="mean radius")


def test_every_option_of_training_and_reading_is_offered_by_fit(cli):
    shown = cli("fit", "--help")[1]
    for kind in (Settings, ReadOptions):
        for name, (_, option) in options_of(kind).items():
            assert (f"--{name.replace('_', '-')}" in shown) == bool(option.help), name


def test_what_is_asked_and_what_it_is_resolved_to_have_the_same_names():
    assert [one.name for one in fields(Settings)] == [one.name for one in fields(ResolvedSettings)]
    assert options_of(Settings)["kernel"][1].choices == ("auto", *KERNELS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--epochs", "abc"), "Invalid value for '--epochs': 'abc' is not a whole number."),
        (("--epochs", "3.5"), "Invalid value for '--epochs': '3.5' is not a whole number."),
        (("--lr", "x"), "Invalid value for '--lr': 'x' is not a number."),
    ],
)
def test_what_is_no_number_is_named(capsys, given, message):
    with pytest.raises(SystemExit):
        main(["fit", *given])
    assert message in " ".join(capsys.readouterr().err.split())
