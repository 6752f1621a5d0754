"""Labels and names as strings: one spelling for every source, and the checks that they need."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfdistill._core.advice import Advice, Notice
from selfdistill._core.errors import DataError
from selfdistill._core.wording import listed, quoted, short

UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad\u200e\u200f"))
"""Characters without a width; those that join letters are parts of words and stay."""
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?")
_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d)[ T]00:00:00(\.0+)?(Z|[-+]00:?00)?")
_TRUTH = {"true": "True", "false": "False"}


@lru_cache(4096)
def value_key(text: str) -> str:
    """Give one spelling to all spellings of a value; not for display."""
    # Alike are whole numbers and decimals of one value (1, +1, 1.0, 1.00), truth values in any case, a date and its
    # midnight, composed and decomposed accents, and texts that differ in spaces at the ends, kinds and numbers of
    # spaces within, or characters without a width. Case tells other texts apart, and so do leading zeros, which are
    # those of codes.
    plain = " ".join(unicodedata.normalize("NFC", text.translate(UNSEEN)).replace("\u2212", "-").split())
    if truth := _TRUTH.get(plain.lower()):
        return truth
    if _NUMBER.fullmatch(plain) and any(map(str.isdigit, plain)):
        whole, _, part = plain.lstrip("+-").partition(".")
        number = (whole or "0") + ("." + part.rstrip("0") if part.strip("0") else "")
        return "-" + number if plain[0] == "-" and number != "0" else number
    midnight = _MIDNIGHT.fullmatch(plain)
    return midnight[1] if midnight else plain


class Places:
    """Where a value stands among known ones: spelled so, or else, where only one of them is the same value, there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: place for place, name in enumerate(names)}
        self._keys: dict[str, int] = {}
        for place, name in enumerate(names):
            key = value_key(name)
            self._keys[key] = -1 if key in self._keys else place

    def __getitem__(self, name: str) -> int:
        """Find a value: its place; −1 where it is not known, or could be two."""
        place = self._exact.get(name)
        return self._keys.get(value_key(name), -1) if place is None else place


def _near_key(name: str) -> str:
    plain = value_key(unicodedata.normalize("NFKC", name)).casefold()
    try:
        return str(Decimal(plain).normalize(Context(prec=len(plain) + 1)))
    except ArithmeticError:
        return plain


def near_groups(names: Sequence[str]) -> list[list[int]]:
    """Find names that people hardly tell apart: the same value, or but for case, leading zeros, width of characters."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(_near_key(name), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def hint(name: str, known: Sequence[str]) -> str:
    """Say which known value people hardly tell apart from one that is not known."""
    close = [other for other in known if _near_key(other) == _near_key(name)]
    return f"Is it {' or '.join(map(repr, close[:3]))}? " if close else ""


MISSING_LABELS = frozenset({"nan", "NaN", "<NA>", "null", "NULL"})
"""Words that stand for a missing label, unless they are a class, see `given_texts`."""
_DOUBTFUL = MISSING_LABELS | {"NA", "N/A", "n/a", "na", "None", "none", "?", "-"}
_SHARE = 0.05  # of a column, above which such a word is a class
_DENSE = 1.5  # width of the range of codes, in classes
_TAG_LISTS = 4  # class names that are lists, from which labels may be lists of tags
_GROUPS = 5  # of classes that are nearly the same are named
_IDS = 50  # so many labels, no two alike, may still name classes
_ONCE = 0.2  # share of whole numbers that stand once, from which they are measured
_AGES = 30  # whole numbers that neither begin with 0 or 1 nor leave none out are doubted from here on
_SIGNS = str.maketrans("", "", ",' \u00a0\u202f$€£¥%")


def text_of(value: Any, keep: Container[str] = ()) -> str | None:
    """Spell one label: numbers 3, 3.0 and 3.00 are "3", True is "True"; nothing, NaN and an empty cell are ``None``."""
    if isinstance(value, str):
        word = value.strip()
        return None if not word or (word in MISSING_LABELS and word not in keep) else str(value)
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        whole = number.is_integer() and abs(number) < 2**53
        return str(int(number)) if whole else repr(float(str(value)))  # 0.1 of any width
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value.normalize() + 0:f}"
    if isinstance(value, bytes):
        return text_of(value.decode("utf-8", "replace"), keep)
    return text_of(str(value), keep)


def texts(values: Any, keep: Container[str] = ()) -> np.ndarray:
    """Spell a column of labels."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if hasattr(values, "to_pylist"):
        narrow = str(values.type) in {"float", "halffloat"}
        try:
            items = list(np.asarray(values.to_pandas())) if narrow else values.to_pylist()
        except (OverflowError, ValueError):  # a time that Python has no object for: its number
            items = values.cast("int64").to_pylist()
    elif isinstance(values, np.ndarray):
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise DataError(
                f"labels have shape {values.shape}, but must be one per example", "Pass labels of shape [n]."
            )
        items = list(values) if values.dtype in {np.float16, np.float32} else values.tolist()  # with their own digits
    else:
        items = list(values)
    return np.array([text_of(item, keep) for item in items], dtype=object)


def given_texts(values: Any, *, drop: bool = False, literal: bool = False) -> np.ndarray:
    """Spell a column of given labels; words such as "null" may be a class."""
    # Words for missing values are one class where nothing else is missing and each fills more than 5 % of the column.
    names = texts(values, MISSING_LABELS)
    words = Counter(name.strip() for name in names if name is not None and name.strip() in MISSING_LABELS)
    if not words or literal:
        return names
    if not drop and all(name is not None for name in names) and min(words.values()) > _SHARE * len(names):
        return names
    return texts(names)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names; where all of them are numbers, by value."""
    unique = set(names)
    try:
        values = {name: float(name) for name in unique}
    except ValueError:
        return tuple(sorted(unique))
    if not all(map(math.isfinite, values.values())):
        return tuple(sorted(unique))
    return tuple(sorted(unique, key=lambda name: (values[name], name)))


def encode(names: np.ndarray, classes: Sequence[str]) -> Tensor:
    """Turn names into positions in ``classes``; −1 where missing or not among them."""
    # A name that is no class, but the same value as exactly one of them, is that class: 1.0 and 1.
    places = Places(classes)
    return torch.tensor([-1 if name is None else places[name] for name in names], dtype=torch.int64)


def column_error(name: str, problem: str, *ways: str) -> DataError:
    """Say what is wrong with a column; in the ways out ``{word}`` is its name."""
    return DataError(f"column {name!r} {problem}", Advice(*ways, word=quoted(name)))


def column_note(name: str, message: str, *ways: str) -> Notice:
    """Say what was found about a column, and what can be done about it, as above."""
    return Notice(f"column {name!r} {message}", *ways, word=quoted(name))


def near_matches(name: str, known: Iterable[str]) -> str:
    """Say which known names are like a name that is not known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    close += [other for other in known if other.lower() == name.lower() and other not in close]
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}There are: {listed(known, 20)}."


def check_ids(ids: np.ndarray, where: str) -> None:
    """Refuse names that repeat or are missing."""
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if name is None:
            raise DataError(f"{where} has no id in row {row}", Advice("Give every row an id", "choose another {--id}."))
        if name in seen:
            raise DataError(
                f"{where} repeats the id {name!r} (rows {seen[name]} and {row})",
                Advice("Ids must be unique: remove the repeats", "leave out {--id} and rows are numbered."),
            )
        seen[name] = row


def check_discrete(classes: Sequence[str], sizes: Sequence[int], where: str) -> None:
    """Refuse labels that name no class: numbers that hardly repeat, or over 50 values that never do."""
    _check_tags(classes, where)
    examples = sum(sizes)
    if len(classes) <= min(max(10, examples // 2), _IDS):
        return
    numbers = _numbers(classes)
    whole = all(value.is_integer() for value in numbers)
    if numbers and (not whole or _measured(numbers, sizes)):
        what = "measured, not classes" if whole else "continuous"
        raise DataError(
            f"the labels of {where} are {what}: {len(classes):,} different numbers in {examples:,} rows, such as "
            f"{short(classes[0])} and {short(classes[-1])}, but training needs classes",
            Advice(
                "Choose another label column with {--label}",
                "sort the numbers into classes such as low and high first{more}.",
                more="; put a letter before numbers that are names" if whole else "",
            ),
        )
    if len(classes) == examples > _IDS:
        raise DataError(
            f"no two of the {examples:,} labels of {where} are alike ({short(classes[0])!r}, {short(classes[1])!r}, "
            "...): they look like ids or texts, and where no label repeats there is nothing to learn",
            Advice("Give labels that repeat", "name another label column with {--label}."),
        )


def _numbers(classes: Sequence[str]) -> list[float]:
    """Read class names as numbers, without currencies and marks between thousands; none where one is a word."""
    try:
        values = [float(name.translate(_SIGNS)) for name in classes]
    except ValueError:
        return []
    return [value for value in values if math.isfinite(value)]


def _measured(numbers: Sequence[float], sizes: Sequence[int]) -> bool:
    """Say whether whole numbers are measured: they hardly repeat, and there are many, or they lie apart."""
    # Codes of classes fill their range and repeat. Measures lie apart: their range is half again as wide as they are
    # many. With fewer than two rows each no more than 50 can be learned; with fewer than four, a fifth stands once.
    n, k = sum(sizes), len(numbers)
    apart = max(numbers) - min(numbers) >= _DENSE * k
    if n < 2 * k:
        return n > k and (apart or k > _IDS)
    return n < 4 * k and apart and sum(size == 1 for size in sizes) >= _ONCE * k


def _check_tags(classes: Sequence[str], where: str) -> None:
    """Refuse lists of tags: fewer tags than lists; without a bar between them, one word each that repeats."""
    for mark in "|;,":
        lists = [[part.strip() for part in name.split(mark)] for name in classes if mark in name]
        if len(lists) < _TAG_LISTS:
            continue
        parts = Counter(part for one in lists for part in set(one)) + Counter(n for n in classes if mark not in n)
        words = all(part and " " not in part and parts[part] > 1 for one in lists for part in one)
        if len(parts) < len(lists) and (words or mark == "|"):
            raise DataError(
                f"the labels of {where} are lists of tags, such as {short(mark.join(lists[0]))!r}: {len(lists):,} "
                f"lists of {len(parts):,} tags, but training takes one class for each example",
                Advice(
                    "Make a column of each tag, yes or no, and name it with {--label}", "keep one tag for each row."
                ),
            )


def label_warnings(classes: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Sentences about classes that are legal but odd."""
    warnings = []
    numbers = _numbers(classes)
    codes = numbers and min(numbers) in {0, 1} and max(numbers) - min(numbers) < len(numbers)
    if len(numbers) >= _AGES and not codes:
        warnings.append(
            f"the classes are {len(numbers):,} different numbers, {short(classes[0])} to {short(classes[-1])}: if they "
            "are measured, such as ages, sort them into a few classes first."
        )
    single = [short(name) for name, size in zip(classes, sizes, strict=True) if size == 1]
    if len(single) == 1:
        warnings.append(f"class {single[0]!r} has one example: it is kept, but little can be learned about it.")
    elif single:
        warnings.append(
            f"{len(single):,} classes have one example ({listed(single)}): kept, but little can be learned about them."
        )
    doubtful = [name for name in classes if name.strip() in _DOUBTFUL]
    if doubtful:
        ways = ["empty the cell where the label is missing", "leave these rows out with {--drop-unlabelled}."]
        ways = ways if set(doubtful) <= MISSING_LABELS else [f"{ways[0]}."]
        warnings.append(Notice(f"{', '.join(map(repr, doubtful))} is taken as a class", *ways))
    return warnings + _near_warnings(classes, sizes)


def _near_warnings(classes: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Sentences about classes that people hardly tell apart."""
    messages = []
    groups = near_groups(classes)
    for group in groups[:_GROUPS]:
        names = [short(classes[place]) for place in group]
        seen = {unicodedata.normalize("NFC", name.translate(UNSEEN)) for name in names}
        spelled = map(repr if len(seen) == len(group) else ascii, names)
        rows = [f"{sizes[k]:,} row{'s' if sizes[k] != 1 else ''}" for k in group]
        described = [f"{name} ({count})" for name, count in zip(spelled, rows, strict=True)]
        messages.append(
            f"classes {' and '.join(described)} differ only in case, spaces, accents or the form of a number, and are "
            f"{len(group)} classes; spell them alike if they are one."
        )
    if len(groups) > _GROUPS:
        messages.append(f"{len(groups) - _GROUPS:,} more groups of classes differ only so.")
    return messages
