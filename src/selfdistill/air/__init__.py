"""Anisotropic information retrieval: what a network learns first, how much of it is signal, and when to stop."""

from __future__ import annotations

__all__: list[str] = []
