"""Where the program begins; Ctrl-C while libraries load ends it at once, without a traceback."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

_INTERRUPTED = 130


@contextmanager
def leaving_at_once() -> Generator[None]:
    """End the program at once on Ctrl-C: half-loaded libraries answer an exception with tracebacks of their own."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave(*signalled: Any) -> NoReturn:
    """End the program as Ctrl-C does, at once: nothing is unloaded, and threads end where they are."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"Stopped.\n")
    os._exit(_INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code: 0; 2 for something wrong that was given; 130 for Ctrl-C."""
    with leaving_at_once():
        from selfdistill.cli._app import main as run
    run(argv)
