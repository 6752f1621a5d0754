"""The findings as a DataFrame, in cleanlab's columns (Northcutt et al. 2021, arXiv 1911.00068) and more beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from selfdistill.issues._table import LabelTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["issue_frame", "sample_weights"]

_INT16_CLASSES = np.iinfo(np.int16).max
_LEAST = 1e-3  # a class that is right less often counts as this, so that no weight is above 1000


def issue_frame(table: LabelTable, classes: np.ndarray) -> pd.DataFrame:
    """Write findings as a DataFrame, one row per example; the estimator's ``get_label_issues`` names the columns."""
    import pandas as pd

    small = np.int16 if len(classes) < _INT16_CLASSES else np.int32
    return pd.DataFrame(
        {
            "is_label_issue": table.is_issue,
            "label_quality": table.quality.astype(np.float64),
            "given_label": table.given.astype(small),
            "predicted_label": table.refined.astype(small),
            "sample_weight": sample_weights(table),
            "refined_label": table.relabelled.astype(small),
            "refined_confidence": table.confidence,
            "refined_entropy": table.entropy,
            "first_learned_epoch": table.first_learned,
            "times_forgotten": table.forgotten,
            "given_class": classes[table.given],
            "refined_class": classes[table.refined],
        }
    )


def sample_weights(table: LabelTable) -> np.ndarray:
    """Weights for training on what is kept: 0 for an issue, else 1 / P(given k | true k) of its given label k."""
    right = np.maximum(np.diagonal(table.noise.noise_matrix), _LEAST)
    return np.asarray(np.where(table.is_issue, 0.0, 1 / right[table.given]))
