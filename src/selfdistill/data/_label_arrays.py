"""Labels in arrays: one for each example, or one-hot."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._labelled import Note


def check_texts(array: Any, where: str) -> None:
    """Refuse texts of characters that there are not, as damaged files hold them."""
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise DataError(f"{where} holds characters that there are not: it is damaged", "Write it again.")


def one_label(array: Any, where: str) -> tuple[Any, str]:
    """Turn one-hot labels into the numbers of their columns."""
    check_texts(array, where)
    if array.ndim < 2 or (array.ndim == 2 and array.shape[1] == 1):
        return array, ""
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(f"{where} has shape {array.shape}, but labels are one per example", "Give labels of shape [n].")
    values = np.asarray(array, np.float64)
    sums = values.sum(1)
    if np.isin(values, (0.0, 1.0)).all():
        if (sums == 1).all():
            return values.argmax(1), Note(f"{where} is one-hot: the labels are the numbers of its columns, from 0.")
        row = int(np.flatnonzero(sums != 1)[0])
        raise DataError(
            f"{where} is multi-label: row {row} has {int(sums[row]):,} of {array.shape[1]:,} labels, but training "
            "takes one class for each example",
            "Train on one of its columns, saved as an array of its own, or keep one label for each example.",
        )
    if (values >= 0).all() and np.allclose(sums, 1, atol=1e-3):
        raise DataError(
            f"{where} holds probabilities of {array.shape[1]:,} classes",
            "Give labels of shape [n], or in Python SelfDistillClassifier().fit(X, probabilities).",
        )
    raise DataError(f"{where} has shape {array.shape}, but labels are one per example", "Give labels of shape [n].")
