"""Labels of several annotators, of whom not all labelled each row: the given label is what most of them say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selfdistill._core.errors import DataError
from selfdistill.data._labelled import Note
from selfdistill.data._labels import near_matches, texts
from selfdistill.data._options import ReadOptions

if TYPE_CHECKING:
    import pyarrow as pa

VOTED = "majority_vote"
"""Name of the column that holds the labels by votes."""


def majority(votes: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Take the label that most annotators give."""
    # Of tied labels, the votes of annotators who agree more often with the majority of the other rows weigh more; of
    # labels that are still tied the first in order is taken.
    given = list(zip(*votes, strict=True))
    leading = [_leading(Counter(vote for vote in row if vote is not None)) for row in given]
    right = np.zeros(len(votes))
    asked = np.zeros(len(votes))
    for row, best in zip(given, leading, strict=True):
        if len(best) == 1:
            asked += [vote is not None for vote in row]
            right += [vote == best[0] for vote in row]
    trust = right / np.maximum(asked, 1)
    out = np.empty(len(given), dtype=object)
    for place, (row, best) in enumerate(zip(given, leading, strict=True)):
        weight = {name: sum(trust[i] for i, vote in enumerate(row) if vote == name) for name in sorted(best)}
        out[place] = max(weight, key=weight.__getitem__) if weight else None
    return out, sum(len(best) > 1 for best in leading)


def _leading(counts: Counter[str]) -> list[str]:
    most = max(counts.values(), default=0)
    return [name for name, count in counts.items() if count == most]


def with_votes(table: pa.Table, options: ReadOptions, where: str) -> tuple[pa.Table, ReadOptions, list[str]]:
    """Add the column of labels by votes, and leave the votes out of the features."""
    import pyarrow as pa

    names = table.column_names
    for name in options.annotator:
        if name not in names:
            raise DataError(f"{where} has no column {name!r} (--annotator)", near_matches(name, names))
    if len(set(options.annotator)) < 2:
        raise DataError(
            f"--annotator names {len(set(options.annotator))} column",
            "Name a column for each annotator; --label for one.",
        )
    if options.label is not None or VOTED in names:
        what = f"--label {options.label} is given" if options.label is not None else f"{where} has a column {VOTED!r}"
        raise DataError(
            f"{what} beside --annotator, which makes the label", "Give one of the two, or rename the column."
        )
    voted = [texts(table[name]) for name in options.annotator]
    labels, ties = majority(voted)
    per_row = sum(np.array([vote is not None for vote in one], dtype=np.int64) for one in voted)
    alike = sum(len({vote for vote in row if vote is not None}) == 1 for row in zip(*voted, strict=True))
    note = (
        f"the label is what most of {len(options.annotator)} columns of votes say: {np.mean(per_row):.1f} votes a row, "
        f"{alike:,} of {len(labels):,} rows of one mind; {ties:,} tie{'s' * (ties != 1)}, "
        "decided by who agrees more often with the rest."
    )
    added = table.append_column(VOTED, pa.array(labels.tolist(), pa.large_string()))
    ignored = tuple(dict.fromkeys((*options.ignore, *options.annotator)))
    return added, replace(options, label=VOTED, ignore=ignored, annotator=()), [Note(note)]
