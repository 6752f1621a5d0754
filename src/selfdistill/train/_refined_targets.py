"""Methods that change the targets by what the network says."""

from __future__ import annotations

from selfdistill.train._method import Method

__all__ = ["REFINED_TARGETS"]

REFINED_TARGETS: dict[str, Method] = {}
