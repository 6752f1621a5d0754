"""Features in an array: vectors, images, or texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from selfdistill.data._frames import array_form
from selfdistill.data._label_arrays import check_texts
from selfdistill.data._labels import texts
from selfdistill.data._options import ReadOptions
from selfdistill.data._roles import Roles
from selfdistill.data._source import Source

if TYPE_CHECKING:
    from selfdistill.data._preprocess import Preprocess

_TEXT = "text"


def features_source(
    X: Any,
    what: str,
    where: str,
    preprocess: Preprocess | None,
    values: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Source:
    """Take an array of features, and what goes with it, as a source."""
    if issparse(X):
        return Source(where, "sparse", X, **values, warnings=notes)
    check_texts(X, what)
    if X.dtype.kind in "US" and (X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)):
        return _texts_source(X, where, values, notes)
    known = preprocess is not None and preprocess.kind != "table"
    form = preprocess.kind if preprocess is not None and known else array_form(X.shape, what)
    return Source(where, form, X, **values, warnings=notes)


def _texts_source(X: np.ndarray, where: str, values: Mapping[str, Any], notes: Sequence[str]) -> Source:
    import pyarrow as pa

    from selfdistill.data._table import fit_table

    table = pa.table({_TEXT: pa.array(texts(X).tolist(), pa.large_string())})
    options = ReadOptions(text=(_TEXT,))
    fit = partial(fit_table, roles=Roles(), options=options, where=where)
    return Source(where, "table", table, **values, fit=fit, warnings=notes)
