"""``selfdistill methods``."""

from __future__ import annotations

import sys

__all__ = ["methods"]


def methods() -> None:
    """List the methods that fit --method takes, one per line with what it does."""
    from selfdistill.train import METHODS, Settings

    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        default = " (default)" if name == Settings().method else ""
        sys.stdout.write(f"{name:<{width}}  {method.summary}{default}\n")
