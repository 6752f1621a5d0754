"""Doors to other libraries; each needs its own extra and is loaded when it is asked for.

`register_distill` needs the extra ``cleanlab``; ``integrations.transformers``,
``integrations.lightning`` and ``integrations.skorch`` the extras of these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfdistill.integrations._datalab import register_distill

__all__ = ["register_distill"]


def __getattr__(name: str) -> Any:
    """Load what needs cleanlab; without it, say which extra to install."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from selfdistill.integrations import _datalab
    except ImportError as error:
        raise ImportError(
            f"selfdistill.integrations.{name} needs cleanlab ({error}). "
            "Install it with: pip install 'selfdistill[cleanlab]'"
        ) from error
    return getattr(_datalab, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
