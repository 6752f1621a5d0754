"""Ctrl-C in the first second, while libraries load and nothing is begun: the program ends at once and says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

__all__ = ["leaving_at_once"]

_INTERRUPTED = 130


@contextmanager
def leaving_at_once() -> Generator[None]:
    """End the program at once on Ctrl-C: half-loaded libraries answer an exception with tracebacks of their own.

    Where somebody else looks after signals, or in another thread than the main one, nothing is changed.

    Yields:
        Nothing.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: Any) -> None:
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"Stopped.\n")
    os._exit(_INTERRUPTED)
