"""Show what work will cost before it starts, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from selfdistill._core import dist

__all__ = ["showing"]


@contextmanager
def showing(forecast: str, examples: float, wanted: bool | None) -> Generator[Callable[[int], None]]:
    """Show a forecast and a bar on stderr."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()) or dist.rank() > 0:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(forecast)
    if not examples:
        yield lambda done: None
        return
    columns = (TextColumn("  {task.percentage:>3.0f} %"), BarColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=examples)
        yield lambda done: progress.advance(task, done)
