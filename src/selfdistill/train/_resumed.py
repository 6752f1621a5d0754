"""What is said and noted where a run goes on under other versions than it was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfdistill._core.events import Event, Listener, RunStarted

__all__ = ["other_versions", "telling"]


def other_versions(found: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Note where a run goes on under other versions than it last had: its result may then be that of neither."""
    before = (found.get("resumed") or [found])[-1].get("versions", {})
    changed = {name: (before.get(name), v) for name, v in now["versions"].items() if before.get(name) != v}
    if not changed:
        return found
    said = ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in changed.items())
    resumed = {name: now[name] for name in ("created", "versions", "hardware")}
    return found | {
        "resumed": [*found.get("resumed", []), resumed],
        "warnings": [*found["warnings"], f"This run goes on with {said}: it may not end as with one version alone."],
    }


def telling(record: Mapping[str, Any], tell: Listener) -> Listener:
    """Say at the start of training what the record warns of because the run goes on."""
    said = tuple(text for text in record["warnings"] if text.startswith("This run goes on with "))

    def telling(event: Event) -> None:
        tell(replace(event, warnings=(*said, *event.warnings)) if isinstance(event, RunStarted) else event)

    return telling
