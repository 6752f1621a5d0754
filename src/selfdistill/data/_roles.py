"""Which columns of a table are the label, the name, the truth, and which are left out; labels by votes."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from selfdistill._core.advice import Advice, Flag, Notice
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed, quoted
from selfdistill.data._arrow_types import is_readable
from selfdistill.data._columns import parse_numbers
from selfdistill.data._labelled import Note
from selfdistill.data._labels import column_error, column_note, encode, near_matches, texts
from selfdistill.data._numerals import PLAIN
from selfdistill.data._preprocess import Roles

LABEL_NAMES = ("label", "target", "class", "y")  # column names taken as the label where the user names none
WRITTEN = ("refined_label", "label_quality", "is_label_issue", "label_weight", "given_label")
"""Columns that this package writes into tables; nobody has them for new data."""
_MEASURES = ("label_quality", "is_label_issue", "label_weight")  # those of them that hold no labels
_LABELLED = re.compile(
    r"(?i:(.*[_ .-])?(labels?|class(es)?|class[_ ]?name|targets?|categor(y|ies)|sentiments?|species|types?|kinds?"
    r"|topics?|genres?|intents?|diagnos[ie]s|outcomes?|variet(y|ies)|grades?|emotions?))"
)
"""How columns of labels are named besides; they are proposed, never taken."""
_ANNOTATOR = re.compile(r"(?i:(annotator|rater|coder|judge|expert|worker|labell?er|reviewer|vote)s?[_ .-]?\w{1,3})")
"""How columns of one annotator's labels are named."""
_FEW = 20  # values of a last column that is proposed
_ENOUGH = 50  # rows from which a column can be message to tell the label
_SAME = 0.5  # share of equal cells from which numbers are another reading of a numeric label, of three classes or more
VOTED = "majority_vote"  # name of the column that holds the labels by votes
_TILT = 1e-3  # more than what rounding may do to a share
_TELLS = 0.995  # share of rows whose label a column tells, from which it may have been made from the label
_NEAR, _HEAD = 0.05, 1000  # how close numbers lie to whole ones; rows that are looked at first


def check_known(names: Iterable[str], known: Sequence[str], where: str, option: str) -> None:
    """Refuse names that no column has."""
    for name in names:
        if name not in known:
            problem = Advice("{where} has no column {name!r} ({flag})", where=where, name=name, flag=Flag(option))
            raise DataError(problem, near_matches(name, known))


def label_column(
    names: list[str], options: ReadOptions, where: str, table: pa.Table | None = None
) -> tuple[str, list[str]]:
    """Find the label's column."""
    taken = {options.id, options.truth, *options.ignore}
    candidates = [name for name in names if name.lower() in LABEL_NAMES and name not in taken]
    if options.label in names:
        return options.label, []
    if table is not None and (options.label is not None or not candidates) and _is_data(table):
        raise DataError(
            f"{where} has no header: its first line looks like data ({listed(names)})",
            "Put a line with the names of the columns above it, such as x1,x2,label.",
        )
    if options.label is not None:
        check_known([options.label], names, where, "label")
    if len(candidates) == 1:
        return candidates[0], [Note(f"column {candidates[0]!r} is taken as the label", "{--label} to choose another.")]
    what = (
        f"{len(candidates)} columns that may be the label: {', '.join(candidates)}"
        if candidates
        else "no column named label, target, class or y"
    )
    hint = _proposal(table.select([n for n in names if n not in taken])) if table is not None and not candidates else ""
    raise DataError(
        f"{where} has {what}", hint + Advice("Say which with {--label}; there are: {names}.", names=listed(names, 20))
    )


def _is_data(table: pa.Table) -> bool:
    """Say whether a header is one more row: a word of few that its column holds, or such and numbers; no 0, 1, 2."""
    names = table.column_names
    if not all(column.type == "large_string" for column in table.columns):
        return False
    if [name for name in names if name.isdecimal()][:2] in (["0", "1"], ["1", "2"]):
        return False
    own = [name for name in names if pc.any(pc.equal(table[name], name)).as_py()]
    words = [name for name in names if math.isnan(PLAIN.number(name))]
    few = not any(map(_LABELLED.fullmatch, names)) and any(
        len(few_values(table[name], _FEW)[0] or ()) > 1 for name in own if name in words
    )
    return few or (bool(own) and set(words) <= set(own))


def _proposal(table: pa.Table) -> str:
    """Propose several annotators' columns, the one whose name says label, or else the last, of values that repeat."""
    voted = [name for name in table.column_names if _ANNOTATOR.fullmatch(name)]
    held = [set(texts(table[name])) - {None} for name in voted]
    if len(voted) > 1 and all(len(one) <= _FEW and one & held[0] for one in held):
        shown = "Did you mean"
        for name in voted:
            shown += Advice(" {--annotator} {name}", name=quoted(name))
        return shown + "? The label is then what most of them say. "
    named = [name for name in table.column_names if _LABELLED.fullmatch(name)]
    if not named and (hot := one_hot(table)):
        return (
            f"Columns {listed(hot[-1])} are one label, one-hot: make it one column and drop these, hot = {hot[-1]!r}; "
            "table['label'] = table[hot].idxmax(axis=1); table = table.drop(columns=hot). "
        )
    for name in (*named, *table.column_names[-1:]):
        values, _, known = few_values(table[name], _FEW if name not in named else max(_FEW, table.num_rows // 2))
        if values is not None and 2 <= len(values) <= known // 2:
            shown = f"{len(values):,} values"
            return Advice("Did you mean {--label} {name}? It has {shown}. ", name=quoted(name), shown=shown)
    return ""


def _find_id(table: pa.Table, options: ReadOptions, where: str) -> tuple[str | None, list[str]]:
    if options.id is not None:
        check_known([options.id], table.column_names, where, "id")
        return options.id, []
    taken = {options.label, options.truth, *options.ignore, *options.text, *options.categorical, *options.numeric}
    for name in table.column_names:
        if name.lower() == "id" and name not in taken:
            names = texts(table[name])
            if all(cell is not None for cell in names) and len(set(names)) == len(names):
                message = f"column {name!r} names the rows and is not used as a feature"
                return name, [Note(message, "{--id} to choose another.")]
            different = len({cell for cell in names if cell is not None})
            count = f"{different:,} different values in {len(names):,} rows"
            message = f"does not name the rows ({count}) and is taken as a feature like any other"
            ways = "leave it out with {--ignore} {word}", "say what it is with {--categorical} {word}."
            return None, [column_note(name, message, *ways)]
    return None, []


def choose_roles(table: pa.Table, options: ReadOptions, where: str) -> tuple[Roles, list[str]]:
    """Give every column that is no feature its role."""
    names = table.column_names
    label, notes = label_column(names, options, where, table)
    if pt.is_nested(table.schema.field(label).type):
        ways = "Make a column of each label, yes or no, and name it with {--label}", "keep one label for each row."
        what = "holds lists, several labels for one example (multi-label), but training takes one class"
        raise column_error(label, what, *ways)
    check_known([options.truth] if options.truth is not None else [], names, where, "truth")
    for option in ("ignore", "text", "categorical", "numeric"):
        check_known(getattr(options, option), names, where, option)
    name, id_notes = _find_id(table, options, where)
    taken: dict[str, str] = {}
    given = [("label", label), ("id", name), ("truth", options.truth), *(("ignore", c) for c in options.ignore)]
    for role, column in given:
        if column is not None and taken.setdefault(column, role) != role:
            refuse_twice(column, taken[column], role, "role")
    roles = Roles(label, name, options.truth, tuple(dict.fromkeys(options.ignore)))
    leaking, more = leaks(table, roles, options)
    return replace(roles, ignored=(*roles.ignored, *leaking)), [*notes, *id_notes, *more]


def refuse_twice(column: str, first: str, second: str, what: str) -> NoReturn:
    """Refuse a column that two options name."""
    one, two = Flag(first), Flag(second)
    problem = Advice("column {column!r} is given as {one} and as {two}", column=column, one=one, two=two)
    raise DataError(problem, f"Give it one {what}.")


def leaks(table: pa.Table, roles: Roles, options: ReadOptions) -> tuple[list[str], list[str]]:
    """Find columns that hold the label's own class names, or tell the label almost perfectly."""
    # Left out: columns whose two or more values are all class names (other annotators, a vote, the truth), since nobody
    # has them for new data and a network would copy them. Where class names are numbers, which features hold as well,
    # there must be three classes or more, and half of the cells must equal the label. Columns that this package wrote
    # go whatever they hold. Kept with a warning: few values, each of which goes with one label in 99.5 % of 50 rows or
    # more. One-hot columns, which name the label together, go too.
    assert roles.label is not None
    labels = texts(table[roles.label])
    classes = {label for label in labels if label is not None}
    words = isinstance(parse_numbers(table[roles.label], roles.label), int)
    chosen = {*options.text, *options.categorical, *options.numeric}
    out, notes = _hot_leaks(table, roles, chosen, labels)
    for name in table.column_names:
        if name in roles.others() or name in out or len(classes) < 2:
            continue
        if name not in chosen and name in {*WRITTEN, f"{roles.label}_before_noise"}:
            out.append(name)
            message = "was written beside the label by this package and is not used as a feature"
            way = "{--truth} {word} to measure against it where it is the true label."
            notes.append(column_note(name, message, *([] if name in _MEASURES else [way])))
            continue
        values, codes, counts = few_values(table[name], 2 * len(classes))
        if values is None:
            values, codes, counts = nearly_whole(table[name], name, 2 * len(classes))
        if values is None or len(values) < 2:
            continue
        same = float(np.mean(np.array(values, dtype=object)[codes[codes >= 0]] == labels[codes >= 0]))
        named = set(values) <= classes and (words or (len(classes) > 2 and same >= _SAME))
        if named and name not in chosen:
            out.append(name)
            message = f"holds the label's own class names (equal in {100 * same:.1f} % of rows)"
            way = "{--truth} {word} to measure against it, {--categorical} {word} to use it."
            notes.append(column_note(name, f"{message} and is not used as a feature", way))
        elif counts >= _ENOUGH and share_told(codes, labels) >= _TELLS:
            message = "tells the label almost perfectly; it must go if it was made from the label"
            way = "leave it out with {--ignore} {word} (or {--truth} {word} where it is the true label)."
            notes.append(column_note(name, message, way))
    return out, notes


def _hot_leaks(table: pa.Table, roles: Roles, chosen: set[str], labels: np.ndarray) -> tuple[list[str], list[str]]:
    """Find one-hot columns of which the label is one, or that tell all its classes almost perfectly."""
    classes = set(labels.tolist()) - {None}
    out: list[str] = []
    notes: list[str] = []
    for hot in one_hot(table) if table.num_rows >= _ENOUGH and len(classes) > 1 else []:
        left = [name for name in hot if name not in roles.others()]
        if not left or chosen & set(hot):
            continue
        if roles.label not in hot:
            codes = np.argmax([few_values(table[name], 2)[1] for name in hot], axis=0)
            if len(hot) > 2 * len(classes) or share_told(codes, labels, classes) < _TELLS:
                continue
        out += left
        notes.append(
            Notice(
                f"one-hot columns {listed(left)} tell the label together and are not used as features",
                "{--numeric} {word} to use them.",
                word=quoted(left[0]),
            )
        )
    return out, notes


def majority(votes: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Take the label that most annotators give."""
    # Of tied labels, the votes of annotators who agree more often with the majority of the other rows weigh more; of
    # labels that are still tied the first in order is taken.
    given = list(zip(*votes, strict=True))
    leading = [_leading(Counter(vote for vote in row if vote is not None)) for row in given]
    right = np.zeros(len(votes))
    votes_cast = np.zeros(len(votes))
    for row, best in zip(given, leading, strict=True):
        if len(best) == 1:
            votes_cast += [vote is not None for vote in row]
            right += [vote == best[0] for vote in row]
    trust = right / np.maximum(votes_cast, 1)
    out = np.empty(len(given), dtype=object)
    for place, (row, best) in enumerate(zip(given, leading, strict=True)):
        weight = {name: sum(trust[i] for i, vote in enumerate(row) if vote == name) for name in sorted(best)}
        out[place] = max(weight, key=weight.__getitem__) if weight else None
    return out, sum(len(best) > 1 for best in leading)


def _leading(counts: Counter[str]) -> list[str]:
    most = max(counts.values(), default=0)
    return [name for name, count in counts.items() if count == most]


def vote_shares(votes: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Give each class its share of a row's votes ``[n, annotators]``, float32 ``[n, K]``, and how many votes it has."""
    # Votes for what is nowhere the label do not count. The label of a tie gets a little more: it is the likeliest.
    shares = np.zeros((len(votes), len(classes)), np.float32)
    for column in votes.T:
        codes = encode(column, classes).numpy()
        given = np.flatnonzero(codes >= 0)
        shares[given, codes[given]] += 1
    counts = shares.sum(1).astype(np.int64)
    shares[np.arange(len(votes)), labels] += _TILT
    return shares / shares.sum(1, keepdims=True), counts


def with_votes(table: pa.Table, options: ReadOptions, where: str) -> tuple[pa.Table, ReadOptions, list[str]]:
    """Add the column of labels by votes, and leave the votes out of the features."""
    names = table.column_names
    check_known(options.annotator, names, where, "annotator")
    if len(set(options.annotator)) < 2:
        raise DataError(
            f"annotator names {len(set(options.annotator))} column",
            Notice("Name a column for each annotator", "{--label} for one."),
            param="annotator",
        )
    if options.label is not None or VOTED in names:
        what = f"{where} has a column {VOTED!r}"
        if options.label is not None:
            what = Advice("{--label} {label} is given", label=options.label)
        problem = Advice("{what} beside {--annotator}, which makes the label", what=what)
        raise DataError(problem, "Give one of the two, or rename the column.")
    voted = [texts(table[name]) for name in options.annotator]
    labels, ties = majority(voted)
    per_row = sum(np.array([vote is not None for vote in one], dtype=np.int64) for one in voted)
    alike = sum(len({vote for vote in row if vote is not None}) == 1 for row in zip(*voted, strict=True))
    note = (
        f"the label is what most of {len(options.annotator)} columns of votes say: {np.mean(per_row):.1f} votes a row, "
        f"{alike:,} of {len(labels):,} rows unanimous; {ties:,} tie{'s' * (ties != 1)}, "
        "decided by who agrees more often with the rest; the closed form learns from all votes of a row."
    )
    added = table.append_column(VOTED, pa.array(labels.tolist(), pa.large_string()))
    ignored = tuple(dict.fromkeys((*options.ignore, *options.annotator)))
    return added, replace(options, label=VOTED, ignore=ignored, annotator=()), [Note(note)]


def few_values(column: pa.ChunkedArray, limit: int) -> tuple[list[str] | None, np.ndarray, int]:
    """Distinct values as texts, the code of each row (−1: missing), rows that have one; ``None`` where too many."""
    if pt.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not is_readable(column.type) or pt.is_null(column.type) or pc.count_distinct(column).as_py() > limit + 2:
        return None, np.zeros(0, np.int64), 0
    cells = texts(column)
    values = sorted({cell for cell in cells if cell is not None})
    if len(values) > limit:
        return None, np.zeros(0, np.int64), 0
    place = {value: code for code, value in enumerate(values)}
    codes = np.array([-1 if cell is None else place[cell] for cell in cells], dtype=np.int64)
    return values, codes, int((codes >= 0).sum())


def nearly_whole(column: pa.ChunkedArray, name: str, limit: int) -> tuple[list[str] | None, np.ndarray, int]:
    """The same of numbers that all lie close to a few whole ones, as a code with a little noise does."""
    if not is_readable(column.type):
        return None, np.zeros(0, np.int64), 0
    for part in (column.slice(0, _HEAD), column):
        numbers = parse_numbers(part, name)
        if isinstance(numbers, int):
            return None, np.zeros(0, np.int64), 0
        known = np.isfinite(numbers)
        whole = np.rint(numbers[known])
        values, codes = np.unique(whole, return_inverse=True)
        if not known.any() or np.mean(np.abs(numbers[known] - whole) <= _NEAR) < _TELLS or len(values) > limit:
            return None, np.zeros(0, np.int64), 0
    every = np.full(len(known), -1, np.int64)
    every[known] = codes
    return [f"about {value:g}" for value in values], every, int(known.sum())


def share_told(codes: np.ndarray, labels: np.ndarray, classes: set[str] | None = None) -> float:
    """Share of rows whose label is the most frequent one of their value; 0 if these are not all of ``classes``."""
    groups: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for code, label in zip(codes.tolist(), labels, strict=True):
        if code >= 0 and label is not None:
            groups[code][label] += 1
    most = [group.most_common(1)[0] for group in groups.values()]
    if not most or (classes is not None and {label for label, _ in most} != classes):
        return 0.0
    return sum(count for _, count in most) / sum(group.total() for group in groups.values())


def one_hot(table: pa.Table) -> list[list[str]]:
    """Find sets of columns side by side that hold 0 and 1, one of which is 1 in each row."""
    sets: list[list[str]] = []
    run: list[tuple[str, np.ndarray]] = []
    total = np.zeros(table.num_rows, np.int64)
    for name in table.column_names:
        values, codes, known = few_values(table[name], 2)
        if values not in (["0", "1"], ["False", "True"]) or known < len(codes):
            run, total = [], np.zeros(table.num_rows, np.int64)
            continue
        run.append((name, codes))
        total = total + codes
        while total.max() > 1:
            total = total - run.pop(0)[1]
        if len(run) > 1 and total.min() == 1:
            sets.append([name for name, _ in run])
            run, total = [], np.zeros(table.num_rows, np.int64)
    return sets
