"""The command line: parse, call one room, print. It holds no algorithm, and ``--help`` loads no torch."""

from selfdistill.cli._app import app, main

__all__ = ["app", "main"]
