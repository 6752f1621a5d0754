"""The command line: parse, call one room, print. It holds no algorithm, and ``--help`` loads no torch."""

from selfdistill.cli._main import main

__all__ = [
    "main",
]
