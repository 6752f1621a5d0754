"""The scikit-learn door."""

from selfdistill.estimator._classifier import SelfDistillClassifier

__all__ = [
    "SelfDistillClassifier",
]
