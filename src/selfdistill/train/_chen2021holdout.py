"""The epoch that is best on held-out noisy labels."""

from __future__ import annotations

from selfdistill.train._method import Curves

__all__ = ["best_on_held_out"]


def best_on_held_out(curves: Curves) -> bool:
    """Say whether the last epoch is the best yet on the held-out examples, by their noisy labels.

    Where every class keeps more of its labels than it gives to any other, the classifier that agrees most with the
    noisy labels is the one that agrees most with the true ones. Of equal epochs the first is kept.

    Args:
        curves: Metrics of each epoch; ``held_out_accuracy`` is looked at.

    Returns:
        Whether to keep this epoch's weights.

    References:
        Chen, Ye, Chen, Zhao & Heng (2021), arXiv 2012.04193, "Robustness of Accuracy Metric and its Inspirations in
        Learning with Noisy Labels", section 3.

    Example:
        >>> best_on_held_out([{"held_out_accuracy": 0.5}, {"held_out_accuracy": 0.4}])
        False
    """
    *earlier, last = (epoch["held_out_accuracy"] for epoch in curves)
    return not earlier or last > max(earlier)
