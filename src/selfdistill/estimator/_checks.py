"""What the estimator is given, checked and brought to NumPy and pandas."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from torch import Tensor

from selfdistill._core.errors import DataError, one_line
from selfdistill.data._arrow_types import as_table
from selfdistill.data._labelled import LabelledData

_BLOCK_BYTES = 2**28


def on_host(values: Any) -> Any:
    """Bring tensors to NumPy and tables of other libraries to pandas, with the types of Arrow; lazy ones are read."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, pd.DataFrame | pd.Series | pd.Index):
        return values
    lazy = type(values).__name__ == "LazyFrame"
    if not lazy and not hasattr(values, "__arrow_c_stream__"):
        return values.to_pandas() if hasattr(values, "to_pandas") else values
    if lazy or hasattr(values, "columns"):
        return as_table(values).to_pandas(types_mapper=pd.ArrowDtype)
    column = as_table(pa.table({"y": pa.chunked_array(values)}))["y"]
    return column.to_pandas(types_mapper=pd.ArrowDtype)


def with_columns(X: Any) -> Any:
    """Refuse what has no columns, or columns that cannot be told apart, and arrays of other things than numbers."""
    texts = isinstance(X, list | np.ndarray) and np.ndim(X) == 1 and len(X) > 0 and isinstance(X[0], str)
    if isinstance(X, pd.Series) or texts:
        call = "X.to_frame()" if isinstance(X, pd.Series) else 'pd.DataFrame({"text": X})'
        raise DataError(
            f"X is a {type(X).__name__} of {len(X):,} values, but must have rows and columns",
            f"Pass a table: {call}; text is one of the kinds of columns it may have.",
        )
    if isinstance(X, np.ndarray) and X.dtype.kind in "USTc":
        number = X.dtype.kind == "c"
        raise DataError(
            f"{'Complex data not supported: ' if number else ''}X is an array of {X.dtype}, but must hold numbers",
            "Pass X.real or abs(X)." if number else "Pass a DataFrame, pd.DataFrame(X), to use text columns.",
        )
    if isinstance(X, pd.DataFrame):
        _check_names(X.columns)
    return X


def _check_names(names: pd.Index) -> None:
    if not names.is_unique:
        twin = names[names.duplicated()][0]
        raise DataError(f"the table has more than one column named {twin!r}", "Give each column its own name.")
    kinds = sorted({type(name).__name__ for name in names})
    if "str" in kinds and len(kinds) > 1:
        raise DataError(
            f"the column names are of the types {' and '.join(kinds)}",
            "Make all texts: X.columns = X.columns.astype(str).",
        )


def without_missing(y: Any) -> Any:
    """Refuse ``None`` and the like among labels of any type, which sorting would trip over."""
    if isinstance(y, list | np.ndarray | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        missing = np.asarray(pd.isna(np.asarray(y, dtype=object)))
        if missing.ndim == 1 and missing.any():
            rows = np.flatnonzero(missing)
            raise DataError(
                f"Input y contains NaN: {len(rows):,} of {len(y):,} labels are missing, the first in row {rows[0]}",
                "Fill them in, or leave these rows out.",
            )
    return y


def labels_of(y: Any) -> Any:
    """Bring labels to NumPy: nullable integers stay integers, bytes and intervals become texts."""
    y = on_host(y)
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        y = y.iloc[:, 0]
    y = without_missing(y)
    if isinstance(y, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        y = _plain_labels(pd.Series(y))
    if isinstance(y, list) and y and isinstance(y[0], bytes):
        y = np.array(y)
    if isinstance(y, np.ndarray) and y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace").astype(object)
    return y.astype(object) if isinstance(y, np.ndarray) and y.dtype.kind == "T" else y


def _plain_labels(y: pd.Series) -> Any:
    kind = y.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return np.asarray(_plain_labels(pd.Series(y.cat.categories))[y.cat.codes.to_numpy()])
    if isinstance(kind, pd.IntervalDtype | pd.PeriodDtype):
        return np.asarray(y.astype(str).to_numpy(dtype=object))
    if isinstance(kind, np.dtype):
        return y.to_numpy()
    if pd.api.types.is_bool_dtype(kind):
        return y.to_numpy(dtype=bool)
    if pd.api.types.is_integer_dtype(kind):
        return y.to_numpy(dtype=np.uint64 if pd.api.types.is_unsigned_integer_dtype(kind) else np.int64)
    return y.to_numpy(dtype=np.float64 if pd.api.types.is_float_dtype(kind) else object)


def distributions_of(y: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Take label distributions: floats with a column for each of two classes or more."""
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


@contextmanager
def numbers_only() -> Generator[None]:
    """Say what to do with an array of objects that are no numbers."""
    try:
        yield
    except ValueError as error:
        if "could not convert string to float" not in str(error):
            raise
        raise DataError(
            f"X is an array of objects that are no numbers: {one_line(error)}",
            "Pass a DataFrame, pd.DataFrame(X), to use text columns.",
        ) from error


def without_rows(data: LabelledData, left_out: np.ndarray) -> LabelledData:
    """Leave examples out; all classes stay, but two must still have examples."""
    keep = torch.from_numpy(~left_out)
    labels = data.labels[keep]
    classes = [data.classes[k] for k in np.unique(labels.numpy())]
    if len(classes) < 2:
        raise DataError(
            f"without {int(left_out.sum()):,} label issues of {len(left_out):,}, "
            f"{f'only the class {str(classes[0])!r} is left' if classes else 'no example is left'}",
            "Leave fewer examples out.",
        )
    parts = {
        name: part[keep] for name in ("distributions", "votes", "weights") if (part := getattr(data, name)) is not None
    }
    return replace(data, inputs=data.inputs[keep], labels=labels, ids=data.ids[keep.numpy()], **parts)
