"""What the benchmarks' command lines share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from selfdistill._core.errors import SelfdistillError


def exit_code(work: Callable[[], int]) -> int:
    """Do a command's work; an error of ours is told in one line.

    Args:
        work: Gives the exit code where nothing is wrong.

    Returns:
        Its exit code, or that of the error.

    Example:
        >>> exit_code(lambda: 0)
        0
    """
    try:
        return work()
    except SelfdistillError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def run_or_report(text: str | None, run: Callable[[argparse.Namespace], None], report: Callable[[], str]) -> None:
    """Be the command line of a bench on prepared data: ``run`` measures, ``report`` prints a page."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    if options.what == "run":
        run(options)
    else:
        print(report())
