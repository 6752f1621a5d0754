"""``selfdistill methods``."""

from __future__ import annotations

from selfdistill.cli._display import write
from selfdistill.cli._interrupt import leaving_at_once

__all__ = ["methods"]


def methods() -> None:
    """List the methods that fit --method takes, one per line with what it does."""
    with leaving_at_once():
        from selfdistill.train import METHODS, WITHOUT_EPOCHS

    summaries = WITHOUT_EPOCHS | {name: method.summary for name, method in METHODS.items()}
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        default = " (default)" if name == "auto" else ""
        write(f"{name:<{width}}  {summary}{default}\n")
