"""How good findings are where the truth is known: counts that a user can check by hand, and two ranking measures."""

from __future__ import annotations

import numpy as np

from selfdistill.issues._table import LabelTable

__all__ = ["compare_with_truth"]


def compare_with_truth(table: LabelTable, truth: np.ndarray) -> dict[str, float]:
    """Measure refined labels and the ranking against true labels.

    Args:
        table: Findings on n examples.
        truth: True labels, int64 ``[n]``; −1 where unknown, and not counted there.

    Returns:
        ``examples`` (with known truth), ``given_right``, ``refined_right`` (shares), ``wrong_set_right`` (share of
        wrong given labels whose refined label is true), ``right_spoiled`` (share of right given labels whose refined
        label is false), ``flagged_precision``, ``flagged_recall``, and, where both kinds exist, ``auroc`` and
        ``average_precision`` of finding the wrong labels by low quality. A share of nothing is left out.

    Example:
        >>> import torch
        >>> from selfdistill.issues import LearningDynamics, label_table
        >>> dynamics = LearningDynamics(torch.tensor([0, 1]))
        >>> dynamics.update(torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([True, True]))
        >>> table = label_table(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), dynamics)
        >>> found = compare_with_truth(table, np.array([0, 0]))
        >>> found["given_right"], found["refined_right"], found["auroc"]
        (0.5, 1.0, 1.0)
    """
    known = truth >= 0
    given, refined, truth = table.given[known], table.refined[known], truth[known]
    quality, flagged = table.quality[known], table.is_issue[known]
    wrong = given != truth
    shares = {
        "given_right": ~wrong,
        "refined_right": refined == truth,
        "wrong_set_right": (refined == truth)[wrong],
        "right_spoiled": (refined != truth)[~wrong],
        "flagged_precision": wrong[flagged],
        "flagged_recall": flagged[wrong],
    }
    found = {"examples": float(known.sum())} | {k: float(v.mean()) for k, v in shares.items() if len(v)}
    if wrong.any() and not wrong.all():
        from sklearn.metrics import average_precision_score, roc_auc_score

        found["auroc"] = float(roc_auc_score(wrong, -quality))
        found["average_precision"] = float(average_precision_score(wrong, -quality))
    return found
