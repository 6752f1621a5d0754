"""The commands together, and how they end."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from selfdistill._core.advice import Advice, Door
from selfdistill._core.errors import Interrupted, SelfdistillError
from selfdistill._core.memory import translate_out_of_memory
from selfdistill._core.wording import GROUP
from selfdistill._version import __version__
from selfdistill.cli._air import air
from selfdistill.cli._command import command
from selfdistill.cli._commands import embed, methods, noise, predict, refine
from selfdistill.cli._display import first_process
from selfdistill.cli._distill import distill
from selfdistill.cli._fit import fit
from selfdistill.cli._processes import Several, in_processes, last_words
from selfdistill.cli._report import report, show
from selfdistill.cli._review import review

_INTERRUPTED = 130
_LESS = Advice("Take fewer data", "a smaller {--network}", "a smaller {--batch-size}.")

app = typer.Typer(
    name="selfdistill",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(function: Callable[..., None]) -> str:
    """Join the lines of each paragraph of a docstring, so that the terminal wraps them; indented ones stay."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    joined = "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)
    return re.sub(r"\[(?!/?bold\])", r"\\[", joined)  # an extra's name is no markup


_ALL = (fit, predict, show, report, review, refine, distill, air, embed, noise, methods)
_COMMANDS = tuple(command(one) for one in _ALL)
for _command in _COMMANDS:
    app.command(help=_help(_command))(_command)


def _version(asked: bool) -> None:
    if asked:
        print(f"selfdistill {__version__}")  # noqa: T201 (what was asked for)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Train once on labels you do not trust.

    You get a robust classifier, refined labels, and a ranking of the labels that look wrong.

    [bold]Start here:[/bold]

        selfdistill fit                              a demonstration
        selfdistill fit songs.csv --label genre      your own data
        selfdistill predict runs/songs-001 new.csv   labels for new data
        selfdistill report runs/songs-001            a page of the results
        selfdistill refine runs/songs-001 --drop --out clean.csv
        selfdistill review runs/songs-001            review doubtful labels by keyboard
        selfdistill distill runs/songs-001 --student mlp:32
        selfdistill air runs/songs-001               what it learned first
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0; 2 for something wrong that was given; 130 for Ctrl-C."""
    try:
        code = _code(argv)
    except KeyboardInterrupt:  # while the options are read: what comes later is typer's and the commands' to answer
        last_words("Stopped.")
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        exec("")  # Python ends by the signal instead where Ctrl-C once came within an exec, until another is run
    sys.exit(code)


def _code(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with translate_out_of_memory(_LESS):
            left = app(args=arguments, prog_name="selfdistill", standalone_mode=False)
        sys.stdout.flush()
        if left == _INTERRUPTED:  # typer's word for Ctrl-C where nothing is there to save
            last_words("Stopped.")
        return left if isinstance(left, int) else 0
    except Several as asked:
        return in_processes(asked.count, arguments)
    except Interrupted as error:
        if first_process() or GROUP in os.environ:
            last_words(str(error))
        return error.exit_code
    except SelfdistillError as error:
        _complain(error.at(_door(arguments)))
        return error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, has enough
        return _unread()
    except SystemExit as left:  # typer's word for the same
        if isinstance(left.__context__, BrokenPipeError):
            return _unread()
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        denied = isinstance(error, PermissionError)
        hint = " Choose a place that you may read and write, or change its permissions." if denied else ""
        _complain(f"{where}{error.strerror or error}.{hint}")
        return 2
    except Exception as error:
        message = getattr(error, "format_message", None)  # usage errors; typer's own class moves between its versions
        if message is None:
            raise
        _misused(str(message()).rstrip("."), error)
        return 2


def _misused(problem: str, error: Exception) -> None:
    """Say what is wrong with the words of a command; nothing where none was given and the help has been shown."""
    path = getattr(getattr(error, "ctx", None), "command_path", "selfdistill")
    if problem:
        _complain(f"{problem}. Try `{path} --help`.")


def _unread() -> int:
    """End well, and let Python's own last flush of what nobody reads go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _door(arguments: Sequence[str]) -> Door:
    """Say which options the command has, so that no error recommends another's, and how they are written."""
    commands = {one.__name__: inspect.signature(one).parameters for one in _COMMANDS}
    called = next((word for word in arguments if word in commands), "fit")
    flags = {name: str(one.annotation.__metadata__[0].default) for name, one in commands[called].items()}
    shown = {name: flag for name, flag in flags.items() if flag.startswith("--") and "/" not in flag}
    return Door({*flags} | ({"exclude_clean"} if called == "noise" else set()), dashes=True, flags=shown)


def _complain(text: str) -> None:
    who = "" if first_process() or GROUP in os.environ else f" (process {os.environ['RANK']})"
    last_words(f"error{who}: {' '.join(text.split())}")
