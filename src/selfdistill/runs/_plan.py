"""What a run does besides what its settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdistill.rivals import Method

GO_ON = "Go on with: selfdistill fit --resume {}"


@dataclass(frozen=True)
class Plan:
    """What a run does besides what its settings say, such as learning from a teacher."""

    record: Mapping[str, Any]  # joins the run record from the start
    # called with the run directory, ours by then, before training, and again when a run is resumed: gives the method,
    # of one network, and what else joins the record; under `files` digests of what it wrote
    prepare: Callable[[Path], tuple[Method, Mapping[str, Any]]]
    room: int = 0  # bytes that `prepare` writes at most
    go_on: str = GO_ON  # what to say after a stop; `{}` is the run directory
