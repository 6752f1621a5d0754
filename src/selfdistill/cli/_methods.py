"""``selfdistill methods``."""

from __future__ import annotations

from selfdistill.cli._display import write
from selfdistill.cli._interrupt import leaving_at_once

__all__ = ["methods"]


def methods() -> None:
    """List the methods that fit --method takes, one per line with what it does."""
    with leaving_at_once():
        from selfdistill.train import METHODS, Settings

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        default = " (default)" if name == Settings().method else ""
        write(f"{name:<{width}}  {method.summary}{default}\n")
