"""Numbers as people write them: decimal commas, thousands, currencies, units, and codes for missing values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import numpy as np

from selfdistill._core.advice import Advice, Notice
from selfdistill._core.errors import DataError
from selfdistill._core.read_options import ReadOptions
from selfdistill._core.wording import listed, quoted
from selfdistill.data._labels import column_error

ODD = 0.05  # share of known cells that may be no number in a column of numbers
PER_CENT = frozenset("%‰٪")  # signs that make a number another one: 12 % is 0.12
LEAST_NUMBERS = 20  # numbers in a column with such cells
_MONEY = (
    r"[A-Z]{0,3}[$€£¥₹₽₩₺฿₫₪₴₦]|USD|EUR|GBP|JPY|CHF|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|KRW|TRY|ZAR|MXN"
    r"|Rs\.?|kr\.?"
)
_CELL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<money>{_MONEY})?\s*(?P<inner>[-+]?)\s*"
    r"(?P<body>[.,]?\d(?:[\d.,' ]*\d)?(?:[eE][-+]?\d+)?)"
    r"\s*(?P<unit>(?![-+./:'\"()<>=])[^\d\s][^\s,;_]{0,11})?"
)
"""A number, perhaps after a currency or before a unit of one word."""
_ALIKE = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'", "\u2212": "-"})
_GROUPS = "|".join(rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+" for mark in ("%s", " ", "'"))
_FORMS = {
    mark: re.compile(rf"(?:\d+|{_GROUPS % other})?(?:{re.escape(mark)}\d+)?(?:[eE][-+]?\d+)?")
    for mark, other in ((".", ","), (",", r"\."))
}
"""Numbers with this decimal mark."""
_NAMES = {".": "points", ",": "commas", " ": "spaces", "'": "apostrophes"}
_OTHER = {".": ",", ",": "."}


class Notation(NamedTuple):
    """How the numbers of a column are written."""

    decimal: str = "."  # ``"."`` or ``","``
    thousands: str = ""  # the mark between thousands, or ``""``
    unit: str = ""  # currency, per cent sign or unit before or after the number, or ``""``

    def number(self, cell: str) -> float:
        """Read one cell."""
        if self == PLAIN:
            with suppress(ValueError):
                return math.nan if "_" in cell else float(cell)  # Python's digits grouping is no number in a table
            return math.nan
        parts = _parts(cell)
        if parts is None:
            return math.nan
        sign, body, unit = parts
        if unit != self.unit and (unit or self.unit in PER_CENT):
            return math.nan
        other = _OTHER[self.decimal]
        if not _FORMS[self.decimal].fullmatch(body) or (other in body and self.thousands != other):
            return math.nan
        plain = body.translate(dict.fromkeys(map(ord, f"{other} '"))).replace(",", ".")
        return float(sign + plain)

    def in_words(self) -> str:
        """Such as ``"decimal commas, points between thousands, the unit '€'"``."""
        parts = [f"decimal {_NAMES[self.decimal]}"]
        parts += [f"{_NAMES[self.thousands]} between thousands"] if self.thousands else []
        parts += [f"the unit {self.unit!r}"] if self.unit else []
        return ", ".join(parts)


PLAIN = Notation()  # what Python reads


def _parts(cell: str) -> tuple[str, str, str] | None:
    """Sign, digits with marks, and unit."""
    match = _CELL.fullmatch(cell.translate(_ALIKE).strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    return match["sign"] or match["inner"], match["body"], match["money"] or match["unit"] or ""


@dataclass
class Tally:
    """What the cells of a column tell about how its numbers are written."""

    proven: Counter[str] = field(default_factory=Counter)  # by decimal mark: cells that are numbers with this one only
    # cells that are numbers with both, but not the same: ``1,234``; by the mark that they hold
    either: Counter[str] = field(default_factory=Counter)
    free: int = 0  # cells that are the same number with both
    none: int = 0  # cells that are no number
    units: Counter[str] = field(default_factory=Counter)  # cells of each unit
    # by decimal mark: cells that have a mark between thousands, by that mark
    marks: dict[str, Counter[str]] = field(default_factory=lambda: {".": Counter(), ",": Counter()})
    # by mark, the first cell that holds it; by ``""``, the first number
    example: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Iterable[str]) -> Tally:
        """Look at cells."""
        out = cls()
        split = [(cell, _parts(cell)) for cell in cells]
        out.units = Counter(parts[2] for _, parts in split if parts is not None and parts[2])
        unit = out.unit
        for cell, parts in split:
            if parts is None or (parts[2] != unit and (parts[2] or unit in PER_CENT)):
                out.none += 1
                continue
            out._add(cell, parts[1])
        return out

    def _add(self, cell: str, body: str) -> None:
        reads = [mark for mark, form in _FORMS.items() if form.fullmatch(body)]
        held = [mark for mark in ".,' " if mark in body]
        if not reads:
            self.none += 1
            return
        for mark in (*held, ""):
            self.example.setdefault(mark, cell.strip())
        for mark in reads:
            self.marks[mark].update(other for other in held if other != mark)
        if len(reads) == 1:
            self.proven[reads[0]] += 1
        elif "." in held or "," in held:
            self.either["." if "." in held else ","] += 1
        else:
            self.free += 1

    @property
    def unit(self) -> str:
        """The unit of at least half of the cells that have one."""
        word, count = self.units.most_common(1)[0] if self.units else ("", 0)
        return word if 2 * count >= self.units.total() else ""

    def reads(self, mark: str) -> bool:
        """Say whether the column is one of numbers with this decimal mark."""
        numbers = self.proven[mark] + self.either.total() + self.free
        odd = self.none + self.proven[_OTHER[mark]]
        return bool(numbers) and (not odd or (numbers >= LEAST_NUMBERS and odd <= ODD * (numbers + odd)))

    def sure(self) -> str:
        """Give the decimal mark that the column itself shows, or ``""``."""
        readable = [mark for mark in ".," if self.reads(mark)]
        if len(readable) < 2:
            return readable[0] if readable else ""
        if not self.either.total():
            return "." if not self.proven.total() else max(".,", key=lambda mark: self.proven[mark])
        likely = [mark for mark in ".," if self.proven[mark] > ODD * self.either.total()]
        return likely[0] if len(likely) == 1 else ""

    def notation(self, mark: str) -> Notation:
        """Give the notation with this decimal mark."""
        thousands = self.marks[mark].most_common(1)
        return Notation(mark, thousands[0][0] if thousands else "", self.unit)


def _refuse_unclear(name: str, tally: Tally) -> NoReturn:
    mark = "," if "," in tally.either else "."
    cell = tally.example[mark]
    point, comma = (tally.notation(m).number(cell) for m in ".,")
    readings = f"{cell[:40]!r} is {point:.15g} with decimal points, and {comma:.15g} with decimal commas"
    ways = "Say it with {--decimal} . or {--decimal} ,", "take it as words with {--categorical} {word}."
    raise column_error(name, f"can be read in two ways: {readings}, and nothing in the file shows which", *ways)


def _given_decimal(options: ReadOptions) -> str:
    """The decimal mark that the user gave, or that follows from the mark between thousands."""
    decimal, thousands = options.decimal, options.thousands
    if decimal not in {None, ".", ","}:
        raise DataError(f"decimal is {decimal!r}", "Give a point or a comma.", param="decimal")
    if thousands not in {None, ".", ",", " ", "'"}:
        problem = f"thousands is {thousands!r}"
        raise DataError(problem, "Give a point, a comma, a space or an apostrophe.", param="thousands")
    if decimal and decimal == thousands:
        problem = Advice("{--decimal} and {--thousands} are both {decimal!r}", decimal=decimal)
        raise DataError(problem, "Give different marks, or one of them.")
    return decimal or _OTHER.get(thousands or "", "")


def choose_notations(
    tallies: Mapping[str, Tally], separator: str, options: ReadOptions
) -> tuple[dict[str, Notation], list[str]]:
    """Find out how the numbers of each column are written."""
    # A column that shows its decimal mark has it. Of another, such as one of 1,234 and 873, the columns that show
    # theirs decide, and the comma that separates the fields, which goes with decimal points. Without such a sign, 3.941
    # has a decimal point where the fields are not separated by semicolons; the rest is asked for.
    given = _given_decimal(options)
    sure = {name: tally.sure() for name, tally in tallies.items()}
    votes = {mark for name, mark in sure.items() if mark and tallies[name].proven[mark]}
    votes |= {"."} if separator == "," else set()
    out: dict[str, Notation] = {}
    for name, tally in tallies.items():
        mark = given if given and tally.reads(given) else sure[name]
        if not mark:
            if not all(map(tally.reads, ".,")):
                continue
            if len(votes) == 1:
                mark = next(iter(votes))
            elif votes or "," in tally.either or separator == ";":
                _refuse_unclear(name, tally)
            else:
                mark = "."
        notation = tally.notation(mark)
        if options.thousands and notation.thousands != options.thousands:
            notation = notation._replace(thousands=options.thousands if tally.marks[mark][options.thousands] else "")
        if notation != PLAIN:
            out[name] = notation
    return out, _sentences(out, tallies)


def _sentences(found: Mapping[str, Notation], tallies: Mapping[str, Tally]) -> list[str]:
    groups: dict[Notation, list[str]] = {}
    for name, notation in found.items():
        if notation.unit or any(mark in tallies[name].example for mark in ".,' "):
            groups.setdefault(notation, []).append(name)
    messages: list[str] = []
    for notation, names in groups.items():
        cells = (cell for cell in tallies[names[0]].example.values() if not math.isnan(notation.number(cell)))
        cell = next(cells, "")
        example = f": {cell[:40]!r} is {notation.number(cell):.15g}" if cell else ""
        columns, verb = ("columns", "are") if len(names) > 1 else ("column", "is")
        messages.append(
            Notice(
                f"{columns} {listed(names)} {verb} read with {notation.in_words()}{example}",
                "{--decimal} or {--thousands} to choose another reading.",
            )
        )
    return messages


NINES = np.array(
    [-99.0, *(sign * (10.0**n - 1) / part for n in range(3, 10) for part in (1, 10)[: n - 2] for sign in (-1, 1))]
)
"""-99, and 999, 9999, ... with both signs, also with one decimal: 999.9."""
_SHOWN = 10  # columns that are named
_LONE = 5.0  # ranges of the other values, between them and a code that stands once


def find_codes(numbers: np.ndarray) -> list[float]:
    """Find the values of a column that stand for missing ones: nines at its end, far from all other values."""
    # Far: farther than the others are from each other (five times as far, where the value stands only once), or below 0
    # where no other value is.
    known = numbers[np.isfinite(numbers)]
    codes = []
    for end in (np.min, np.max):
        if not len(known):
            break
        code = float(end(known))
        if code not in NINES:
            continue
        others = known[known != code]
        if len(np.unique(others)) < 2:
            continue
        low, high = float(others.min()), float(others.max())
        gap = low - code if code < low else code - high
        times = len(known) - len(others)
        if gap > (1.0 if times > 1 else _LONE) * (high - low) or (code < 0 <= low and times > 1):
            codes.append(code)
            known = others
    return codes


def codes_in(array: np.ndarray) -> dict[int, list[float]]:
    """Find such values in the columns of an array ``[n, d]``."""
    ends = np.isin(array.min(0), NINES) | np.isin(array.max(0), NINES)
    return {int(place): codes for place in np.flatnonzero(ends) if (codes := find_codes(np.asarray(array[:, place])))}


def choose_codes(columns: Mapping[str, np.ndarray], options: ReadOptions) -> tuple[dict[str, list[float]], list[str]]:
    """Find the values that stand for missing ones in the columns that the user does not call numeric."""
    by_column = {name: find_codes(column) for name, column in columns.items() if name not in options.numeric}
    by_column = {name: codes for name, codes in by_column.items() if codes}
    messages: list[str] = []
    for name, codes in list(by_column.items())[:_SHOWN]:
        values = " and ".join(f"{code:.15g} ({int((columns[name] == code).sum()):,} rows)" for code in codes)
        messages.append(
            Notice(
                f"column {name!r}: {values}, far from all other numbers, count{'s' * (len(codes) == 1)} as missing",
                "{--numeric} {name} to take all as they stand.",
                name=quoted(name),
            )
        )
    if len(by_column) > _SHOWN:
        messages.append(f"the same holds for {len(by_column) - _SHOWN:,} more columns.")
    return by_column, messages
