"""What the benchmarks' command lines share."""

from __future__ import annotations

import sys
from collections.abc import Callable

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
