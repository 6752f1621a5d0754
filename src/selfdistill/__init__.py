"""Train once on labels you do not trust: a robust classifier, refined labels, and a ranking of the likely errors."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from selfdistill._version import __version__

if TYPE_CHECKING:
    from selfdistill.data._with_index import with_index
    from selfdistill.estimator._classifier import SelfDistillClassifier
    from selfdistill.runs._run import Run, fit, load
    from selfdistill.train._robust_targets import RobustTargets

__all__ = ["RobustTargets", "Run", "SelfDistillClassifier", "__version__", "fit", "load", "with_index"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: the package itself loads neither torch nor scikit-learn."""
    rooms = {"SelfDistillClassifier": "estimator._classifier", **dict.fromkeys(("Run", "fit", "load"), "runs._run")}
    rooms |= {"RobustTargets": "train._robust_targets", "with_index": "data._with_index"}
    if name in rooms:
        return getattr(importlib.import_module(f"selfdistill.{rooms[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
