"""Methods that change the loss: robust losses and corrections by a noise matrix."""

from __future__ import annotations

from selfdistill.train._method import Method

__all__ = ["ROBUST_LOSSES"]

ROBUST_LOSSES: dict[str, Method] = {}
