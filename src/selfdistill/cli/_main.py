"""Where the program begins: it loads the commands, and Ctrl-C meanwhile is no traceback."""

from __future__ import annotations

from collections.abc import Sequence

from selfdistill.cli._interrupt import leaving_at_once

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0; 2 for something wrong that was given; 130 for Ctrl-C.

    Args:
        argv: Arguments without the program's name; those of the process if left out.
    """
    with leaving_at_once():
        from selfdistill.cli._app import main as run
    run(argv)
