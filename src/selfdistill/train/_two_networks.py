"""Methods that train two networks side by side."""

from __future__ import annotations

from selfdistill.train._method import Method

__all__ = ["TWO_NETWORKS"]

TWO_NETWORKS: dict[str, Method] = {}
