"""Dialects of CSV: every odd file is read cell by cell, and whatever is written in a dialect comes back."""

from __future__ import annotations

import csv
import importlib.util
import io

import pytest
from benchmarks.csv_readers import ours, verdict
from benchmarks.odd_csv import ODD, Odd
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.data._dialect import Dialect, find_dialect
from selfdistill.data.formats import _csv

WORD = st.text("abcdefghijklmnopqrstuvwxyzäß", min_size=1, max_size=8)
NAMES = st.lists(WORD, min_size=2, max_size=5, unique=True)
PROSE = st.text("abc äß,;|'#. 0", max_size=12).map(str.strip).filter(bool)


@pytest.mark.parametrize("odd", ODD, ids=[odd.name for odd in ODD])
def test_odd_files_are_read_cell_by_cell(odd: Odd, tmp_path):
    if importlib.util.find_spec("chardet") is None and b"\n" in odd.data and not _utf8(odd.data):
        pytest.skip("chardet is not installed")
    assert verdict(ours, odd, tmp_path) == "right"


def _utf8(data: bytes) -> bool:
    try:
        return b"\0" not in data and bool(data.decode())
    except UnicodeDecodeError:
        return False


@st.composite
def tables(draw) -> tuple[list[str], list[list[str]]]:
    """A header of words, and rows of a number, prose and a class."""
    names = draw(NAMES)
    count = draw(st.integers(3, 8))
    rows = []
    for row in range(count):
        cells = [f"{draw(st.integers(-99, 99))}.{row}", *(draw(PROSE) for _ in names[2:]), draw(st.sampled_from("ab"))]
        rows.append(cells)
    return names, rows


@given(
    tables(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["", "\ufeff", "sep", "# a comment\n", "Results of May\n\n", "\n"]),
    st.sampled_from(["", "end", "rows"]),
    st.sampled_from(["utf-8", "utf-16"]),
)
@settings(max_examples=120)
def test_what_is_written_in_a_dialect_comes_back(
    tmp_path_factory, table, mark, end, quoting, before, trailing, encoding
):
    names, rows = table
    made = io.StringIO(newline="")
    writer = csv.writer(made, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerow([*names, ""] if trailing == "end" else names)
    writer.writerows([[*row, ""] if trailing else row for row in rows])
    if trailing and quoting == csv.QUOTE_ALL:
        return  # a quoted empty cell is a cell
    head = f"sep={mark}{end}" if before == "sep" else before
    path = tmp_path_factory.mktemp("dialect") / "a.csv"
    text = head + made.getvalue()
    path.write_bytes(text.encode("utf-16" if encoding == "utf-16" and before != "\ufeff" else "utf-8"))
    header, *found = _csv.csv_rows(path)
    if trailing == "end":
        assert header.pop() == ""
        assert {row.pop() for row in found} == {""}
    assert header == names
    assert found == rows


@pytest.mark.parametrize(
    ("text", "ending", "separator"),
    [
        ("label\nbig cat\nsmall dog\nbig dog\n", ".csv", ","),  # one column of two words each
        ("text\nhello\nwell, then\n", ".csv", ","),  # refused with its line, not read by another separator
        ("a b\n1 2\n", ".csv", ","),
        ("a b\n1 2\n", ".txt", " "),
        ("a;b\n1;2\n", ".tsv", ";"),
        ("a\tb,c\n1,5\t2,5\n", ".csv", "\t"),
    ],
)
def test_separators_where_little_speaks_for_one(tmp_path, text, ending, separator):
    path = tmp_path / f"a{ending}"
    path.write_text(text)
    assert find_dialect(path).separator == separator


def test_a_separator_that_is_said_is_taken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\na,b;c\n1,2;3\n")
    assert list(_csv.csv_rows(path)) == [["a,b", "c"], ["1,2", "3"]]


def test_only_plain_dialects_take_a_cell_at_the_end_of_a_line():
    assert Dialect(";").plain
    assert not any(
        one.plain for one in (Dialect(" "), Dialect(quote="'"), Dialect(extra="trailing"), Dialect(hashed=True))
    )
