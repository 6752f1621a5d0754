"""Sparse matrices, such as TF-IDF: the scale of a column tells its weight, so columns are not standardised."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import as_numpy, check_finite
from selfdistill.data._preprocess import Preprocess

TEXT_WEIGHT = 10.0
"""Length of a text's vector: it weighs like a hundred standardised columns, each of mean square 1."""
_BYTES = 2 * 2**30


def as_dense(matrix: Any) -> np.ndarray:
    """Write a sparse matrix out.

    Args:
        matrix: A SciPy sparse matrix or array ``[n, d]``.

    Returns:
        float32 ``[n, d]``.

    Raises:
        DataError: It takes more than 2 GiB.

    Example:
        >>> import scipy.sparse
        >>> as_dense(scipy.sparse.eye(2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    size = 4 * math.prod(matrix.shape)
    if size > _BYTES:
        raise DataError(
            f"the sparse matrix of {matrix.shape[0]:,} x {matrix.shape[1]:,} takes {size / 2**30:,.1f} GiB when "
            f"written out, but at most {_BYTES / 2**30:,.0f} GiB are",
            "Take fewer columns (TfidfVectorizer(max_features=5000)), or reduce them first: "
            "make_pipeline(TfidfVectorizer(), TruncatedSVD(256), SelfDistillClassifier()).",
        )
    return np.asarray(matrix.astype(np.float32).toarray())


@final
class SparsePreprocess(Preprocess, kind="sparse"):
    """Vectors ``[n, d]`` that keep the scales of their columns; all are multiplied by one number.

    Args:
        factor: The number: training vectors have a root mean square length of 10, as texts have in a table.
        columns: d.

    Example:
        >>> made = SparsePreprocess.fit(np.eye(3) * 2)
        >>> made.apply([[0.0, 1.0, 0.0]]).tolist()
        [[0.0, 5.0, 0.0]]
    """

    def __init__(self, factor: float, columns: int) -> None:
        self._factor, self._columns = factor, columns

    @classmethod
    def fit(cls, raw: Any) -> SparsePreprocess:
        """Learn the number."""
        values = np.asarray(raw.tocsr().data if issparse(raw) else as_numpy(raw), np.float64)
        largest = float(np.abs(values).max(initial=0.0))
        if not math.isfinite(largest):
            check_finite(as_dense(raw) if issparse(raw) else values)
        length = largest * math.sqrt(float(np.square(values / (largest or 1.0)).sum()) / raw.shape[0])
        return cls(TEXT_WEIGHT / length if length else 1.0, int(raw.shape[1]))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``(d,)``."""
        return (self._columns,)

    @property
    def scaled(self) -> bool:
        """True: the scale of a column tells its weight."""
        return True

    def apply(self, raw: Any) -> Tensor:
        """Write vectors out, and multiply them."""
        plain = raw.tocsr() if issparse(raw) else as_numpy(raw)
        if plain.ndim != 2 or plain.shape[1] != self._columns:
            raise DataError(
                f"the array has shape {plain.shape}, but training had {self._columns} columns",
                f"Pass an array of shape [n, {self._columns}].",
            )
        if issparse(plain):
            scaled = plain.astype(np.float64, copy=False) * self._factor
            if not np.isfinite(scaled.data).all():
                check_finite(as_dense(plain))
            return torch.from_numpy(as_dense(scaled))
        check_finite(plain)
        return torch.from_numpy((plain * self._factor).astype(np.float32))

    def facts(self) -> str:
        """Such as ``"5,000 numbers, not standardised"``."""
        return f"{self._columns:,} number{'s' if self._columns != 1 else ''}, not standardised"

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Give ``(spec, tensors)``."""
        return {"kind": self.kind, "factor": self._factor, "columns": self._columns}, {}

    @classmethod
    def _rebuild(cls, spec: dict[str, Any], tensors: dict[str, Tensor]) -> SparsePreprocess:
        factor, columns = spec["factor"], spec["columns"]
        if not (isinstance(factor, float) and math.isfinite(factor) and factor > 0) or int(columns) < 1:
            raise ValueError(f"a factor of {factor!r} for {columns!r} columns")
        return cls(factor, int(columns))
