"""What the estimator is given, checked and brought to NumPy and pandas."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from torch import Tensor

from selfdistill._core.errors import DataError

__all__ = ["distributions_of", "encode_labels", "on_host", "row_blocks", "seed_of", "with_columns", "without_missing"]

_BLOCK_BYTES = 2**28


def on_host(values: Any) -> Any:
    """Bring tensors to NumPy and tables of other libraries to pandas."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return values.to_pandas() if hasattr(values, "to_pandas") else values


def with_columns(X: Any) -> Any:
    """Refuse a Series and bare texts, of which nothing says what they are columns of."""
    texts = isinstance(X, list | np.ndarray) and np.ndim(X) == 1 and len(X) > 0 and isinstance(X[0], str)
    if isinstance(X, pd.Series) or texts:
        way_out = "X.to_frame()" if isinstance(X, pd.Series) else 'pd.DataFrame({"text": X})'
        raise DataError(
            f"X is a {type(X).__name__} of {len(X):,} values, but must have rows and columns",
            f"Pass a table: {way_out}; text is one of the kinds of columns it may have.",
        )
    return X


def without_missing(y: Any) -> Any:
    """Refuse ``None`` and the like among labels of any type, which sorting would trip over."""
    if isinstance(y, list | np.ndarray | pd.Series | pd.Categorical):
        missing = np.asarray(pd.isna(np.asarray(y, dtype=object)))
        if missing.ndim == 1 and missing.any():
            rows = np.flatnonzero(missing)
            raise DataError(
                f"Input y contains NaN: {len(rows):,} of {len(y):,} labels are missing, the first in row {rows[0]}",
                "Fill them in, or leave these rows out.",
            )
    return y


def distributions_of(y: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Take label distributions: floats with a column for each of two classes or more.

    Args:
        y: An array or DataFrame ``[n, K]``, or anything else.

    Returns:
        The distributions, and the names of the classes: those of the columns, sorted, or numbers from 0. ``None`` for
        anything else.
    """
    if isinstance(y, pd.DataFrame):
        if y.shape[1] < 2 or not all(kind.kind == "f" for kind in y.dtypes):
            return None
        names = np.asarray(y.columns.tolist())
        order = np.argsort(names, kind="stable")
        return y.to_numpy()[:, order], names[order]
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] >= 2 and y.dtype.kind == "f":
        return y, np.arange(y.shape[1])
    return None


def row_blocks(X: Any) -> Iterator[Any]:
    """Give a sparse matrix in parts of at most 256 MiB when written out, anything else whole."""
    if not issparse(X) or X.ndim != 2 or X.shape[0] == 0:
        yield X
        return
    rows, step = X.tocsr(), max(1, _BLOCK_BYTES // (4 * max(1, X.shape[1])))
    for start in range(0, X.shape[0], step):
        yield rows[start : start + step]


def encode_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise DataError(f"the labels cannot be sorted: {error}", "Use labels of one type.") from error
    if len(classes) < 2:
        raise DataError(f"the labels hold only the class {str(classes[0])!r}, but training needs at least 2 classes")
    return classes, codes.astype(np.int64)


def seed_of(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    generator = check_random_state(random_state)
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))
