"""Tables and arrays that are in memory already, and table files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from scipy.sparse import issparse

from selfdistill._core.errors import DataError
from selfdistill.data._arrays import as_numpy
from selfdistill.data._arrow_types import as_table
from selfdistill.data._labelled import LabelledData
from selfdistill.data._labels import texts
from selfdistill.data._limits import check_columns
from selfdistill.data._options import ReadOptions
from selfdistill.data._roles import Roles, choose_roles
from selfdistill.data._source import Source, assemble
from selfdistill.data._sparse import as_dense
from selfdistill.data._votes import with_votes

if TYPE_CHECKING:
    import pyarrow as pa


def array_form(shape: tuple[int, ...], what: str = "inputs") -> str:
    """Tell vectors from images by the number of axes."""
    if len(shape) not in {2, 3, 4}:
        raise DataError(
            f"{what} have shape {shape}, but must be [n, d], [n, h, w], [n, c, h, w] or [n, h, w, c]",
            "Reshape your data: array.reshape(-1, 1) where it has one feature.",
        )
    if 0 in shape[1:]:
        raise DataError(f"{what} have shape {shape}: 0 features", "Give at least one feature.")
    return "array" if len(shape) == 2 else "image"


def from_arrays(
    X: Any,
    y: Any,
    *,
    ids: Any = None,
    truth: Any = None,
    form: str | None = None,
    options: ReadOptions | None = None,
) -> LabelledData:
    """Take arrays as a data set.

    Args:
        X: Numbers: vectors ``[n, d]``, which are standardised unless they are a SciPy sparse matrix, or images
            ``[n, h, w]``, ``[n, c, h, w]`` or ``[n, h, w, c]``; with ``form="user"`` any shape, passed through.
        y: Given labels ``[n]``, numbers or texts.
        ids: One unique name per example; ``None``: rows are numbered.
        truth: True labels where known.
        form: "array", "image" or "user"; ``None``: by the number of axes.
        options: Only ``drop_unlabelled`` is looked at.

    Returns:
        The data set.

    Raises:
        DataError: Numbers that are not finite, shapes or lengths that do not fit, missing labels, one class.

    Example:
        >>> data = from_arrays([[1.0], [2.0], [3.0]], ["b", "a", "b"])
        >>> data.classes, data.labels.tolist(), data.inputs.shape
        (('a', 'b'), [1, 0, 1], torch.Size([3, 1]))
    """
    if issparse(X) and form == "user":
        X = as_dense(X)
    array = X.tocsr() if issparse(X) else as_numpy(X)
    if form is None:
        form = "sparse" if issparse(X) else array_form(array.shape)
    if form not in {"array", "sparse", "image", "user"}:
        raise DataError(f"form is {form!r}", "Pass 'array', 'sparse', 'image', 'user' or None.")
    for name, values in (("ids", ids), ("true labels", truth)):
        if values is not None and len(texts(values)) != array.shape[0]:
            raise DataError(f"{array.shape[0]:,} examples but {len(texts(values)):,} {name}", "Give every example one.")
    return assemble(Source("the data", form, array, y, ids, truth), options or ReadOptions())


def table_source(
    table: pa.Table, options: ReadOptions, where: str, roles: Roles | None = None, *, mapped: bool = False
) -> Source:
    """Split a table into features and what goes with them."""
    from selfdistill.data._table import fit_table

    notes: list[str] = []
    check_columns(table.num_columns, where)
    table = as_table(table)
    if options.annotator:
        table, options, notes = with_votes(table, options, where)
    if roles is None:
        roles, more = choose_roles(table, options, where)
        notes = [*notes, *more]
    names = table.column_names

    def column(name: str | None) -> Any:
        return table[name] if name is not None and name in names and name not in options.ignore else None

    return Source(
        where=where,
        form="table",
        features=table,
        labels=column(roles.label),
        ids=column(roles.id),
        truth=column(roles.truth),
        fit=partial(fit_table, roles=roles, options=options, where=where),
        warnings=notes,
        mapped=mapped,
    )


def from_frame(X: Any, y: Any = None, *, options: ReadOptions | None = None) -> LabelledData:
    """Take a DataFrame with numeric, categorical and text columns as a data set.

    Args:
        X: A pandas DataFrame, an Arrow table, or a table of any library that gives Arrow's stream, such as polars.
        y: Given labels ``[n]``; ``None``: they are the column ``options.label``.
        options: As for files.

    Returns:
        The data set.

    Raises:
        DataError: See `read`.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"size": [1.0, None, 3.0], "colour": ["red", "red", "blue"]})
        >>> data = from_frame(frame, ["yes", "no", "yes"], options=ReadOptions(categorical=("colour",)))
        >>> data.counts, data.inputs.shape
        ({'missing_values': 1}, torch.Size([3, 4]))
    """
    options = options or ReadOptions()
    table = as_table(X)
    if y is None:
        return assemble(table_source(table, options, "the table"), options)
    name = options.label or next(n for n in ("label", "given label", "label of y") if n not in table.column_names)
    labels = texts(y)
    if name in table.column_names:
        raise DataError(f"the labels are given as y and as the column {name!r}", "Give one of the two.")
    if len(labels) != table.num_rows:
        raise DataError(f"{table.num_rows:,} rows but {len(labels):,} labels", "Give every row one label.")
    import pyarrow as pa

    table = table.append_column(name, pa.array(labels.tolist(), pa.large_string()))
    return assemble(table_source(table, replace(options, label=name), "the table"), options)
