"""Train once on labels you do not trust: a robust classifier, refined labels, and a ranking of the likely errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfdistill._version import __version__

if TYPE_CHECKING:
    from selfdistill.estimator import SelfDistillClassifier

__all__ = ["SelfDistillClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the estimator when it is first asked for: the package itself loads neither torch nor scikit-learn."""
    if name == "SelfDistillClassifier":
        from selfdistill.estimator import SelfDistillClassifier

        return SelfDistillClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
