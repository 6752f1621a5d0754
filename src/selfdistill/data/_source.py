"""What every reader hands over, how it becomes a `LabelledData`, and data that are in memory already."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.sparse import issparse
from torch import Tensor

from selfdistill._core.advice import Advice
from selfdistill._core.errors import DataError
from selfdistill._core.memory import check_memory
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.row_blocks import row_blocks
from selfdistill._core.wording import listed, short
from selfdistill.data._arrays import ArrayPreprocess, SparsePreprocess, UserPreprocess, as_dense, as_numpy
from selfdistill.data._arrow_types import as_table
from selfdistill.data._images import ImagePreprocess, is_mapped_pixels, layout_doubt
from selfdistill.data._labelled import LabelledData, Note
from selfdistill.data._labels import (
    MISSING_LABELS,
    check_discrete,
    check_ids,
    class_order,
    encode,
    given_texts,
    label_warnings,
    texts,
)
from selfdistill.data._limits import check_columns
from selfdistill.data._preprocess import Preprocess, Roles
from selfdistill.data._roles import choose_roles, vote_shares, with_votes
from selfdistill.data._stored import MappedInputs
from selfdistill.data._table import fit_table


@dataclass(frozen=True, eq=False)
class Source:
    """Raw examples and what goes with them, before any number is changed."""

    where: str  # name of the source, for messages
    form: str  # "table", "array", "sparse", "image" or "user"
    features: Any  # an Arrow table of the feature columns, or an array, or a sparse matrix in rows
    labels: Any = None  # given labels, any spelling, ``[n]``; ``None`` where the source has none
    ids: Any = None  # names; ``None``: rows are numbered
    truth: Any = None  # true labels; ``None`` where not known
    # learns the preprocess from ``features``: gives it with its warnings and counts; ``None``: by ``form``
    fit: Callable[[Any], tuple[Preprocess, Sequence[str], dict[str, int]]] | None = None
    counts: dict[str, int] = field(default_factory=dict)  # see `LabelledData`
    warnings: Sequence[str] = ()  # sentences for the user; those of type `Note` are no warnings
    mapped: bool = False  # whether ``features`` lie on disk, and inputs are to be made of them a part at a time
    literal: bool = False  # whether words such as "null" are labels, as in Parquet
    votes: np.ndarray | None = None  # of several annotators, texts ``[n, annotators]``; ``labels`` is what most say

    def __len__(self) -> int:
        return int(self.features.shape[0]) if issparse(self.features) else len(self.features)

    def named(self) -> np.ndarray:
        """Names of the rows, unique."""
        if self.ids is None:
            return np.array([str(row) for row in range(len(self))], dtype=object)
        ids = texts(self.ids)
        check_ids(ids, self.where)
        return ids

    def take(self, rows: np.ndarray) -> Source:
        """Keep some rows."""
        features = self.features.filter(rows) if self.form == "table" else self.features[rows]
        parts = {name: getattr(self, name) for name in ("labels", "truth") if getattr(self, name) is not None}
        parts = {name: texts(values, MISSING_LABELS)[rows] for name, values in parts.items()}
        votes = None if self.votes is None else self.votes[rows]
        return replace(self, features=features, votes=votes, ids=self.named()[rows], **parts)


def fingerprint(inputs: Tensor | MappedInputs, labels: Tensor, ids: np.ndarray, classes: Sequence[str]) -> str:
    """SHA-256 of everything that training sees, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for values in (inputs, labels):
        for rows in row_blocks(max(1, len(values)), math.prod(values.shape[1:])):
            array = np.ascontiguousarray(values[rows].detach().cpu().numpy())
            if not rows.start:
                state.update(f"{array.dtype.str}{tuple(values.shape)}".encode())
            state.update(array.reshape(-1).view(np.uint8).data)
    for names in (ids, classes):
        state.update(f"{len(names)};".encode())
        for start in range(0, len(names), 65536):
            part = names[start : start + 65536]
            state.update("".join(f"{len(name)}:{name}" for name in part).encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def known_labels(source: Source, options: ReadOptions, classes: Sequence[str] | None = None) -> Source:
    """Refuse or leave out rows without a label."""
    labels = (
        given_texts(source.labels, drop=options.drop_unlabelled or source.form != "table", literal=source.literal)
        if classes is None
        else texts(source.labels, classes)
    )
    if len(labels) != len(source):
        raise DataError(
            f"{source.where} has {len(source):,} examples but {len(labels):,} labels", "Give every example one label."
        )
    known = np.array([label is not None for label in labels], dtype=bool)
    cells, source = source.labels, replace(source, labels=labels)
    if known.all():
        return source
    rows = np.flatnonzero(~known)
    if not options.drop_unlabelled:
        words = {name.strip() for name in texts(cells, MISSING_LABELS)[rows] if name is not None}
        _refuse_positive(source, labels, len(rows))
        held = f", where {', '.join(map(repr, sorted(words)))} counts as missing (rename it if it is a class)"
        raise DataError(
            f"{source.where} has no label in {len(rows):,} of {len(labels):,} rows: {listed(rows.tolist())} (from 0)"
            + held * bool(words),
            Advice("Fill them in", "leave these rows out with {--drop-unlabelled}."),
        )
    return replace(source.take(known), counts=source.counts | {"dropped_unlabelled": len(rows)})


def _refuse_positive(source: Source, labels: np.ndarray, gaps: int) -> None:
    """Refuse one class beside many gaps, as positive and unlabelled data have it, with what can be done."""
    known = {label for label in labels if label is not None}
    if len(known) != 1 or gaps < max(3, len(labels) // 10):
        return
    name = short(next(iter(known)))
    raise DataError(
        f"{source.where} has only the class {name!r}, and no label in {gaps:,} of {len(labels):,} rows (positive and "
        "unlabelled): training needs two classes",
        f"For that, write a class such as 'unlabelled' into the empty cells: those of its rows that have the lowest "
        f"label_quality are likely {name!r} (how many is unknown).",
    )


def _fit(source: Source) -> tuple[Preprocess, Sequence[str], dict[str, int]]:
    if source.fit is not None:
        return source.fit(source.features)
    kinds: dict[str, type[ArrayPreprocess | ImagePreprocess | SparsePreprocess | UserPreprocess]] = {
        "array": ArrayPreprocess,
        "sparse": SparsePreprocess,
        "image": ImagePreprocess,
        "user": UserPreprocess,
    }
    made = kinds[source.form].fit(source.features)
    doubt = layout_doubt(source.features.shape) if source.form == "image" else ""
    if isinstance(made, ArrayPreprocess):
        return made, *made.notes(as_numpy(source.features))
    return made, (doubt,) if doubt else (), {}


def check_inputs(rows: int, preprocess: Preprocess, where: str) -> None:
    """Refuse data whose network inputs take more memory than is free."""
    each = math.prod(preprocess.input_shape) * (1 if preprocess.stats is not None else 4)
    check_memory(f"the inputs made of {where}", rows * each, "Use a part of the data, or fewer or shorter columns.")


def assemble(source: Source, options: ReadOptions) -> LabelledData:
    """Check a source and bring it into the one form."""
    if not len(source):
        raise DataError(f"{source.where} has no examples", "Give it at least two, of two classes.")
    if source.labels is None:
        raise DataError(f"{source.where} has no labels", "Training needs a given label for each example.")
    source = known_labels(source, options)
    classes = class_order(source.labels)
    if len(classes) < 2:
        held = f"only the class {short(classes[0])!r}" if classes else "no class"
        raise DataError(
            f"the labels of {source.where} hold {held}, but training needs at least 2 classes",
            "Choose another label column, or give more data.",
        )
    labels = encode(source.labels, classes)
    sizes = torch.bincount(labels, minlength=len(classes)).tolist()
    check_discrete(classes, sizes, source.where)
    warnings = [*source.warnings, *label_warnings(classes, sizes)]
    truth = None
    if source.truth is not None:
        names = texts(source.truth, classes)
        truth = encode(names, classes)
        lost = int((truth < 0).sum()) - sum(name is None for name in names)
        if lost:
            warnings.append(f"{lost:,} true labels name a class that is never given; they count as unknown.")
    ids = source.named()
    preprocess, notes, counts = _fit(source)
    mapped = MappedInputs(source.features, preprocess) if source.mapped else None
    if mapped is None and not is_mapped_pixels(source.features):
        check_inputs(len(source), preprocess, source.where)
    inputs = torch.empty(mapped.shape, device="meta") if mapped else preprocess.apply(source.features)
    shares, votes = None, None
    if source.votes is not None:
        shares, votes = map(torch.from_numpy, vote_shares(source.votes, labels.numpy(), classes))
    messages = (*warnings, *notes)
    return LabelledData(
        inputs=inputs,
        labels=labels,
        classes=classes,
        ids=ids,
        preprocess=preprocess,
        truth=truth,
        counts=source.counts | counts,
        warnings=tuple(sentence for sentence in messages if not isinstance(sentence, Note)),
        notes=tuple(sentence for sentence in messages if isinstance(sentence, Note)),
        fingerprint=fingerprint(inputs if mapped is None else mapped, labels, ids, classes),
        mapped=mapped,
        shares=shares,
        votes=votes,
    )


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
    X: Any, y: Any, *, ids: Any = None, truth: Any = None, form: str | None = None, options: ReadOptions | None = None
) -> LabelledData:
    """Take arrays as a data set; of the options only ``drop_unlabelled`` is looked at."""
    # X are vectors ``[n, d]``, which are standardised unless they are a SciPy sparse matrix, or images ``[n, h, w]``,
    # ``[n, c, h, w]`` or ``[n, h, w, c]``; ``form`` is "array", "image" or, for any shape, passed through, "user";
    # ``None``: by the number of axes.
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


def roles_of(
    table: pa.Table, options: ReadOptions, where: str, roles: Roles | None
) -> tuple[pa.Table, Roles, ReadOptions, list[str]]:
    """Find which columns are no features, unless training says so; annotators' votes become one column of labels."""
    notes: list[str] = []
    check_columns(table.num_columns, where)
    table = as_table(table)
    annotator = options.annotator
    if annotator:
        table, options, notes = with_votes(table, options, where)
    if roles is None:
        roles, more = choose_roles(table, options, where)
        notes = [*notes, *more]
    return table, roles, replace(options, annotator=annotator), notes


def columns_of(table: pa.Table, roles: Roles, options: ReadOptions) -> dict[str, Any]:
    """Give labels, ids and truth, where the table has them and they are not left out; and the votes."""
    names = {*table.column_names} - {*options.ignore}
    named = {"labels": roles.label, "ids": roles.id, "truth": roles.truth}
    parts: dict[str, Any] = {part: table[name] if name in names else None for part, name in named.items()}
    votes = [texts(table[name]) for name in options.annotator]
    return parts | {"votes": np.stack(votes, 1) if votes else None}


def table_source(
    table: pa.Table, options: ReadOptions, where: str, roles: Roles | None = None, *, mapped: bool = False
) -> Source:
    """Split a table into features and what goes with them."""
    table, roles, options, notes = roles_of(table, options, where, roles)
    return Source(
        where=where,
        form="table",
        features=table,
        **columns_of(table, roles, options),
        fit=partial(fit_table, roles=roles, options=options, where=where),
        warnings=notes,
        mapped=mapped,
    )


def from_frame(X: Any, y: Any = None, *, options: ReadOptions | None = None) -> LabelledData:
    """Take a table of any library that gives Arrow's stream, or a DataFrame; without y, a column holds the labels."""
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
    table = table.append_column(name, pa.array(labels.tolist(), pa.large_string()))
    return assemble(table_source(table, replace(options, label=name), "the table"), options)
