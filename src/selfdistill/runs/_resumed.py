"""What is said and noted where a run goes on under other versions than it was begun with."""

from __future__ import annotations

from dataclasses import replace

from selfdistill._core.events import Event, Listener, RunStarted
from selfdistill._core.record import RunRecord

__all__ = ["other_versions", "telling"]


def other_versions(found: RunRecord, now: RunRecord) -> RunRecord:
    """Note where a run goes on under other versions than it last had: its result may then be that of neither."""
    before = (found.resumed[-1] if found.resumed else found).versions
    changed = {name: (before.get(name), v) for name, v in now.versions.items() if before.get(name) != v}
    if not changed:
        return found
    said = ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in changed.items())
    resumed = {"created": now.created, "versions": now.versions, "hardware": now.hardware}
    warning = f"This run goes on with {said}: it may not end as with one version alone."
    return found.updated(resumed=[*found.resumed, resumed], warnings=[*found.warnings, warning])


def telling(record: RunRecord, tell: Listener) -> Listener:
    """Say at the start of training what the record warns of because the run goes on."""
    said = tuple(text for text in record.warnings if text.startswith("This run goes on with "))

    def telling(event: Event) -> None:
        tell(replace(event, warnings=(*said, *event.warnings)) if isinstance(event, RunStarted) else event)

    return telling
