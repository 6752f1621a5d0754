"""What rivals get to see: the same features for all, as arrays on one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from benchmarks.features.cache import as_arrays, as_frame

FORMS = ("array", "table", "texts")


def form(inputs: Any) -> str:
    """Name the form of inputs, one of `FORMS`."""
    if isinstance(inputs, np.ndarray):
        return "array"
    return "table" if isinstance(inputs, pd.DataFrame) else "texts"


def standardised(train: Any, test: Any) -> tuple[np.ndarray, np.ndarray]:
    """Make float32 arrays; columns of arrays get mean 0 and deviation 1. TF-IDF and indicators stay as they are."""
    arrays = as_arrays(train, test)
    if form(train) != "array":
        return arrays
    scaler = StandardScaler().fit(arrays[0])
    return scaler.transform(arrays[0]).astype(np.float32), scaler.transform(arrays[1]).astype(np.float32)


def for_estimator(inputs: Any) -> Any:
    """Hand inputs to our estimator as a user would: arrays and tables as they are, texts as a column."""
    return as_frame(inputs) if form(inputs) == "texts" else inputs
