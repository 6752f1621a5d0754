"""Processes of one command on one machine: how they find each other, and how many more would go on. Loads no torch."""

from __future__ import annotations

import os

GROUP = "SELFDISTILL_GROUP"
"""Names, in the environment, the folder that ``--processes`` made for the processes it started."""


def as_many() -> str:
    """Write the option that starts as many processes again, for a command that goes on."""
    count = os.environ.get("WORLD_SIZE", "1")
    return f" --processes {count}" if count != "1" and os.environ.get("LOCAL_WORLD_SIZE") == count else ""
