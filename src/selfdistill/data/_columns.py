"""What a table's columns hold: numbers, categories, text, lists, or counters of the rows."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from selfdistill._core.errors import DataError
from selfdistill._core.wording import short
from selfdistill.data._arrow_types import is_readable, is_vectors, parse_lists
from selfdistill.data._labels import column_error, column_note
from selfdistill.data._numerals import LEAST_NUMBERS, ODD, PER_CENT, PLAIN, Notation, Tally
from selfdistill.data._pixels import ENDINGS

_DENSE = 1.5  # width of a counter's range, in rows
_LEAST_COUNTED = 20
_COUNTED = re.compile(r"(?i:(^|[_\W])(id|idx|index|row|rowid|rownum|no|nr|key|timestamp|time)$)|[a-z](Id|ID)$")
"""How columns are named that name or count rows; the last form keeps its case (`PassengerId`)."""


def counts_rows(numbers: np.ndarray, name: str) -> bool:
    """Tell whether numbers name or count the rows: different whole numbers, dense, or named so."""
    # Dense: their range is at most one and a half times their number, as of a counter that was shuffled or of which
    # rows were dropped. Of other distinct whole numbers the column's name must say so.
    n = len(numbers)
    if name in {"index", "__index_level_0__"} or name.startswith("Unnamed: "):
        steps = np.diff(numbers)
        if len(steps) and numbers[0] in {0.0, 1.0} and (steps == 1).all():
            return True
    if n < _LEAST_COUNTED or not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return False
    if len(np.unique(numbers)) < n:
        return False
    return bool(numbers.max() - numbers.min() < _DENSE * n or _COUNTED.search(name))


_WHOLE = re.compile(r"-?\d+\.0+")
_ID = re.compile(r"[A-Za-z_+/=.-]*[0-9][\w+/=.-]*", re.ASCII)
"""Words with digits, such as codes, hashes, names of files."""
_DIGITS = re.compile(r"[0-9]+")
_MIDNIGHT = re.compile(r"\d{4}-\d\d-\d\d[ T]00:00:00(\.0+)?(Z|[-+]00:?00)?")

MISSING_WORDS = (
    *("", "na", "n/a", "nan", "null", "none", "<na>", "?", "-", "--", ".", "..", "...", "*", "n.a.", "n. a.", "(null)"),
    *("#n/a", "#na", "#value!", "#ref!", "#div/0!", "#num!", "#name?", "#null!", "\\n", "missing", "unknown"),
)
"""What stands for a missing number, in any case."""
_SAMPLE = 1000  # cells half of which must look like numbers before all are looked at


def _plain(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Reduce to bool, number or text; dates become ISO texts."""
    kind = column.type
    if not is_readable(kind):
        what = f"holds {kind}, but columns must hold numbers, categories or text"
        raise column_error(name, what, "Leave it out with {--ignore} {word}", "flatten it first.")
    if pt.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name)
    if pt.is_temporal(kind) or pt.is_string(kind) or pt.is_string_view(kind):
        return column.cast(pa.large_string())
    if pt.is_null(kind) or pt.is_decimal(kind):
        return column.cast(pa.float64())
    return column


def as_strings(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Spell a column as texts."""
    cells = _plain(column, name).cast(pa.large_string()).to_pylist()
    return np.array([None if cell is None or not cell.strip() else _one_spelling(cell) for cell in cells], dtype=object)


def _one_spelling(cell: str) -> str:
    """Spell alike what CSV, Parquet and a gap elsewhere in the column spell differently: 1.0, true, midnight."""
    if cell in {"true", "false"}:
        return cell.capitalize()
    if _WHOLE.fullmatch(cell):
        return cell.partition(".")[0]
    return cell[:10] if _MIDNIGHT.fullmatch(cell) else cell


def _known_texts(plain: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trim texts, and make what stands for a missing number null."""
    plain = pc.replace_substring(pc.utf8_trim_whitespace(plain), "\u2212", "-")
    known = pa.array(MISSING_WORDS, pa.large_string())
    return pc.if_else(pc.is_in(pc.utf8_lower(plain), value_set=known), pa.scalar(None, pa.large_string()), plain)


def tally(column: pa.ChunkedArray, name: str) -> Tally | None:
    """Look at how the numbers of a column are written."""
    if not is_readable(column.type):
        return None
    plain = _plain(column, name)
    if not pt.is_large_string(plain.type):
        return None
    cells = _known_texts(plain).drop_null()
    try:
        cells.cast(pa.float64())
    except pa.ArrowInvalid:
        sample = Tally.of(cells[:: max(1, len(cells) // _SAMPLE)].to_pylist()) if len(cells) else Tally()
        numbers = sample.free + sample.proven.total() + sample.either.total()
        return Tally.of(cells.to_pylist()) if numbers >= sample.none else None
    dotted = cells.filter(pc.match_substring(cells, "."))
    either = dotted.filter(pc.match_substring_regex(dotted, r"^[-+]?[1-9]\d{0,2}\.\d{3}$"))
    out = Tally(free=len(cells) - len(dotted))
    if len(either):
        out.either["."], out.marks[","]["."], out.example["."] = len(either), len(either), either[0].as_py()
    if len(dotted) > len(either):
        out.proven["."] = len(dotted) - len(either)
    return out


def parse_numbers(column: pa.ChunkedArray, name: str, notation: Notation = PLAIN) -> np.ndarray | int:
    """Read a column as numbers, NaN where there is none; or give the row of the first cell that is no number."""
    plain = _plain(column, name)
    if not pt.is_large_string(plain.type):
        if pt.is_boolean(plain.type):
            plain = plain.cast(pa.uint8())
        return _float_array(plain.cast(pa.float64(), safe=False))
    plain = _known_texts(plain)
    if notation == PLAIN:
        with suppress(pa.ArrowInvalid):
            return _float_array(plain.cast(pa.float64()))
        lower = pc.utf8_lower(plain)
        if pc.all(pc.is_in(lower, value_set=pa.array(["true", "false"], pa.large_string())), skip_nulls=True).as_py():
            return _float_array(pc.equal(lower, "true").cast(pa.uint8()).cast(pa.float64()))
    numbers, odd, known = np.full(len(plain), math.nan), [], len(plain) - plain.null_count
    for row, cell in enumerate(plain.to_pylist()):
        if cell is None:
            continue
        numbers[row] = notation.number(cell)
        if math.isnan(numbers[row]):
            odd.append(row)
            if len(odd) > ODD * known:  # words
                return odd[0]
    return numbers if not odd or known - len(odd) >= LEAST_NUMBERS else odd[0]


def _float_array(column: pa.ChunkedArray) -> np.ndarray:
    parts = [np.asarray(chunk.to_numpy(zero_copy_only=False), dtype=np.float64) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros(0)


def odd_cells(column: pa.ChunkedArray, name: str, numbers: np.ndarray) -> list[str]:
    """Give the cells of a column, read as these numbers, that are no numbers and count as missing."""
    plain = _plain(column, name)
    if not pt.is_large_string(plain.type):
        return []
    cells = [plain[int(row)].as_py() for row in np.flatnonzero(np.isnan(numbers))]
    return [c.strip() for c in cells if c is not None and c.strip().lower() not in MISSING_WORDS]


def as_numbers(column: pa.ChunkedArray, name: str, notation: Notation = PLAIN) -> np.ndarray:
    """Read a column as finite numbers."""
    numbers = parse_numbers(column, name, notation)
    if isinstance(numbers, int):
        cell = str(column[numbers].as_py())
        where = f"but row {numbers} (counted from 0) has {short(cell, 40)!r}"
        if (notation.unit in PER_CENT) != any(sign in cell for sign in PER_CENT):
            what = "per cent" if notation.unit in PER_CENT else "numbers without a per cent sign"
            problem = f"column {name!r} holds {what}, {where}, which may be a hundred times as much"
            raise DataError(problem, "Write all of them alike, in training and in new data.")
        raise column_error(
            name,
            f"holds numbers, {where}",
            "Correct or empty it (missing numbers are imputed)",
            "train with {--categorical} {word} or {--text} {word}.",
        )
    bad = np.flatnonzero(np.isinf(numbers))
    if len(bad):
        where = f"holds an infinite value in row {bad[0]} (counted from 0)"
        ways = "Replace it by a number or empty the cell", "train without the column, with {--ignore} {word}."
        raise column_error(name, where, *ways)
    return numbers


class ColumnKind(NamedTuple):
    """What a column is."""

    kind: str  # "numeric", "categorical", "text", "vector", or "none": not used
    note: str = ""  # a sentence for the user, or ""


def _is_codes(column: pa.ChunkedArray, name: str) -> bool:
    """Say whether whole numbers have leading zeros, as codes do and measures do not."""
    plain = _plain(column, name)
    if not pt.is_large_string(plain.type) or not pc.any(pc.match_substring_regex(plain, r"^\s*0[0-9]+\s*$")).as_py():
        return False
    cells = (cell.strip() for cell in plain.to_pylist() if cell is not None)
    return all(_DIGITS.fullmatch(cell) for cell in cells if cell.lower() not in MISSING_WORDS)


def find_kind(column: pa.ChunkedArray, name: str, notation: Notation = PLAIN) -> ColumnKind:
    """Find out what a feature column holds."""
    # Numbers (and truth values, and texts that are all numbers) are numeric; dates are the texts of their ISO form;
    # lists of numbers, also as text, are vectors. Texts are categorical where few differ (at most 20 or 5 % of the
    # rows, never over 1,000), repeat (twice or more on average) and are short (100 characters on average or less).
    # Words that differ in every row and mostly have digits (codes, hashes, file names) are not used; anything else is
    # text. Columns that are categories already stay so up to 1,000. Whole numbers with leading zeros are words.
    if is_vectors(column.type):
        return ColumnKind("vector")
    if not is_readable(column.type):
        return ColumnKind("none", f"column {name!r} holds {column.type}, no numbers, words or texts, and is not used.")
    if parse_lists(column) is not None:
        return ColumnKind("vector", column_note(name, "holds lists of numbers as text", "{--text} {word} for words."))
    numbers = parse_numbers(column, name, notation)
    if isinstance(numbers, int):
        return _find_words(column, name)
    return _find_numbers(column, name, numbers)


def _find_numbers(column: pa.ChunkedArray, name: str, numbers: np.ndarray) -> ColumnKind:
    """Tell numbers, counters and codes apart, see `find_kind`."""
    if np.isnan(numbers).all():
        return ColumnKind("none", f"column {name!r} is empty and is not used.")
    if counts_rows(numbers, name):
        message = "only counts or names the rows and is not used"
        return ColumnKind("none", column_note(name, message, "{--numeric} {word} to use it."))
    if pt.is_dictionary(column.type):
        return _find_words(column, name)
    if _is_codes(column, name):
        message = "holds whole numbers with leading zeros and is taken as words"
        words = _find_words(column, name)
        return words._replace(note=words.note or column_note(name, message, "{--numeric} {word} for numbers."))
    odd = odd_cells(column, name, numbers)
    if odd:
        examples = ", ".join(repr(cell[:40]) for cell in dict.fromkeys(odd[:3]))
        message = f"holds numbers except for {len(odd):,} cell{'s' * (len(odd) > 1)} such as {examples}"
        way = "{--categorical} {word} to take all as words."
        return ColumnKind("numeric", column_note(name, f"{message}, which count as missing", way))
    return ColumnKind("numeric")


def _find_words(column: pa.ChunkedArray, name: str) -> ColumnKind:
    """Tell categories, names and texts apart, see `find_kind`."""
    cells = [cell for cell in as_strings(column, name) if cell is not None]
    different = len(set(cells))
    mean_length = sum(map(len, cells)) / len(cells)
    dates = f"column {name!r} holds dates, taken as texts; add columns such as year or weekday where time matters."
    note = dates if pt.is_temporal(column.type) else ""
    if different <= min(1000, max(20, len(cells) // 20)) and 2 * different <= len(cells) and mean_length <= 100:
        return ColumnKind("categorical", note)
    if different == 1 or (pt.is_dictionary(column.type) and different <= 1000):
        return ColumnKind("categorical", note)
    if different < len(cells) or any(" " in cell.strip() for cell in cells):
        return ColumnKind("text", note)
    cells = [cell.strip() for cell in cells]
    if 2 * sum(cell.lower().endswith(ENDINGS) for cell in cells) >= len(cells):
        way = "{--image-column} {word} to see them."
        return ColumnKind("none", column_note(name, "names image files and is not used", way))
    ids = sum(_ID.fullmatch(cell) is not None for cell in cells)
    # names: half have digits and no sign of a text, or are alike but for the digits
    if 2 * ids >= len(cells) or 2 * len({_DIGITS.sub("0", cell) for cell in cells}) <= len(cells):
        message = "holds a different word in every row, so it looks like a name and is not used"
        way = "{--id} {word} to name the rows by it, {--text} {word} or {--categorical} {word} to use it."
        return ColumnKind("none", column_note(name, message, way))
    message = "holds a different word in every row, and is used through its character n-grams"
    way = "if it names the rows, leave it out with {--id} {word} or {--ignore} {word}."
    return ColumnKind("text", column_note(name, message, way))
