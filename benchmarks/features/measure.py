"""What a rival's answer is worth, where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


def measure(found: dict[str, Any], truth: np.ndarray, given: np.ndarray, test_truth: np.ndarray) -> dict[str, Any]:
    """Measure predictions, ranking, count and refined labels."""
    wrong = given != truth
    quality, flagged, refined = (found.get(name) for name in ("quality", "flagged", "refined"))
    expected = found.get("expected_wrong")
    plausible = found.get("plausible")
    both = quality is not None and wrong.any() and not wrong.all()
    return {
        "accuracy": _rounded((found["predicted"] == test_truth).mean()),
        "wrong": int(wrong.sum()),
        "auroc": _rounded(roc_auc_score(wrong, -np.asarray(quality))) if both else None,
        "average_precision": _rounded(average_precision_score(wrong, -np.asarray(quality))) if both else None,
        "flagged": None if flagged is None else int(flagged.sum()),
        "flagged_wrong": None if flagged is None else int((flagged & wrong).sum()),
        **({} if plausible is None else {"plausible": [round(float(one), 2) for one in plausible]}),
        "expected_wrong": None if expected is None else round(float(expected), 2),
        "refined_right": None if refined is None else _rounded((refined == truth).mean()),
    }


def _rounded(value: float) -> float:
    return round(float(value), 6)
