"""CSV files: what stands there, whatever stands there."""

import csv
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError
from selfdistill.data.formats import _csv

CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), max_size=12)


def rows_of(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(_csv.csv_rows(path))


@given(
    st.integers(2, 4).flatmap(lambda w: st.lists(st.lists(CELL, min_size=w, max_size=w), min_size=1, max_size=6)),
    st.sampled_from([".csv", ".csv.gz", ".tsv"]),
)
@settings(max_examples=150)
def test_round_trip(tmp_path_factory, rows, ending):
    width = len(rows[0])
    names = [f"c{i}" for i in range(width)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n").writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / f"a{ending}"
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    rows = [row for row in rows if any(row)]  # separators alone are no row
    assert list(_csv.csv_rows(path)) == [names, *rows]
    if not rows:
        return
    table = _csv.read_csv(path)
    assert table.column_names == names
    assert [list(row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)] == rows


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(data)
    try:
        rows, refused = _csv.read_csv(path).num_rows, ""
    except DataError as error:
        rows, refused = 0, str(error)
    assert rows > 0 or (str(path) in refused and "\n" not in refused)


def test_quoted_newlines_and_byte_order_mark(tmp_path):
    assert rows_of(tmp_path, '\ufeffa,b\r\n"one\ntwo","say ""hi"""\r\n\r\n1,2\r\n') == [
        ["a", "b"],
        ["one\ntwo", 'say "hi"'],
        ["1", "2"],
    ]


@pytest.mark.parametrize(("text", "want"), [("a;b\n1,5;2\n", ["1,5", "2"]), ("a|b\n1|2\n", ["1", "2"])])
def test_separator_is_found(tmp_path, text, want):
    assert rows_of(tmp_path, text)[1] == want


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.csv is empty"),
        ("\n\n", "a.csv is empty"),
        ("a,b\n1,2,3\n", "line 2: 3 fields, but the header has 2"),
        ("a,b\n1\n", "line 2: 1 fields, but the header has 2"),
        ('a,b\n"1,2\n', "line 2: unexpected end of data"),
    ],
)
def test_bad_files(tmp_path, text, problem):
    with pytest.raises(DataError, match=problem):
        rows_of(tmp_path, text)


def test_bad_tables(tmp_path):
    path = tmp_path / "a.csv"
    for text, problem in [("a,b\n", "has a header but no rows"), ("a,a\n1,2\n", "more than one column named 'a'")]:
        path.write_text(text)
        with pytest.raises(DataError, match=problem):
            _csv.read_csv(path)


def test_column_without_a_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",x\n0,5\n")
    assert _csv.read_csv(path).column_names == ["Unnamed: 0", "x"]


def test_huge_field_is_refused_with_its_size(tmp_path):
    size = 2**20 + 1
    before = csv.field_size_limit()
    with pytest.raises(DataError, match=r"line 3: field 2 has 1,048,577 characters, more than 1,048,576"):
        rows_of(tmp_path, "a,b\n1,2\n3," + "x" * size + "\n")
    assert len(rows_of(tmp_path, "a,b\n3," + "x" * 2**20 + "\n")[1][1]) == 2**20
    assert csv.field_size_limit() == before


def test_quotation_that_swallows_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv, "ROW_LIMIT", 5000)
    with pytest.raises(DataError, match=r"has a row of more than 5,000 characters \(the file has 9,008 bytes\)"):
        rows_of(tmp_path, 'a,b\n1,"2' + "\n" * 9000)
    with pytest.raises(DataError, match=r"row of more than 5,000 characters"):
        rows_of(tmp_path, "a,b\n1," + "x" * 9000)


def test_gzip_bomb_and_damage(tmp_path, monkeypatch):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 5000)
    monkeypatch.setattr(_csv, "expand_limit", lambda: 10_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        rows_of(tmp_path, packed, "a.csv.gz")
    monkeypatch.undo()
    assert len(rows_of(tmp_path, packed, "a.csv.gz")) == 5001
    for damaged in (packed[:-20], b"no gzip", b""):
        with pytest.raises(DataError, match=r"truncated or damaged|is empty"):
            rows_of(tmp_path, damaged, "a.csv.gz")


@pytest.mark.parametrize(("ending", "mark"), [("tsv", "\t"), ("csv", ";")])
def test_a_lone_quotation_mark_that_would_swallow_rows_is_refused(tmp_path, ending, mark):
    lines = [mark.join(("x", "text", "label"))]
    lines += [mark.join((str(i), f"song {i}", "ab"[i % 2])) for i in range(60)]
    lines[11] = mark.join(("10", '"loud song', "a"))
    lines[41] = mark.join(("40", 'quiet song"', "a"))
    path = tmp_path / f"d.{ending}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 12: a quotation mark opens a field that ends in line 42.* 31 rows"):
        _csv.read_csv(path)
    path.write_text(path.read_text().replace('"loud', "loud").replace('song"', "song"))
    assert _csv.read_csv(path).num_rows == 60


def test_fields_over_several_lines_are_read(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('x,text,y\n1,"two lines,\nof prose, here",a\n2,"a\nb\nc",b\n3,"well, then,\nno, not, really",a\n')
    assert _csv.read_csv(path)["text"].to_pylist() == [
        "two lines,\nof prose, here",
        "a\nb\nc",
        "well, then,\nno, not, really",
    ]
