"""Tables of records: what goes in comes out, whole or not at all; resuming, stale records, the command line."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from benchmarks.__main__ import main, suites, table_of
from benchmarks.table import RECORDS, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import drive
from selfdistill._core.errors import RunError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
RECORD = st.dictionaries(st.text(max_size=4), JSON, max_size=4).filter(lambda r: not {"created", "commit"} & set(r))


@settings(max_examples=12)
@given(st.lists(st.dictionaries(st.text("abc", max_size=2), RECORD, max_size=3), max_size=4))
def test_a_table_is_a_dictionary_on_disk(tmp_path_factory, steps):
    table, twin = Table(tmp_path_factory.mktemp("t") / "a.parquet"), {}
    for records in steps:
        table.add(records)
        twin |= json.loads(json.dumps(records))
        assert table.read() == twin
        assert list(table.read()) == list(twin)  # in the order of first measurement


def test_the_columns_are_those_of_the_description(tmp_path):
    table = Table(tmp_path / "a.parquet")
    table.append([{"created": "2026-01-02", "commit": "abc", "x": 1.5}, {"x": 2}])
    assert pq.read_table(table.path).to_pylist() == [
        {
            "key": "000000",
            "created": "2026-01-02",
            "commit": "abc",
            "record": '{"created": "2026-01-02", "commit": "abc", "x": 1.5}',
        },
        {"key": "000001", "created": "", "commit": "", "record": '{"x": 2}'},
    ]
    table.append([{"x": 3}])
    assert [*table.read()] == ["000000", "000001", "000002"]


def test_a_write_that_fails_leaves_the_table_as_it_was(tmp_path, monkeypatch):
    table = Table(tmp_path / "a.parquet")
    table.add({"a": {"x": 1}})
    before = table.path.read_bytes()

    def breaks(rows, place, **options):
        Path(place).write_bytes(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", breaks)
    with pytest.raises(KeyboardInterrupt):
        table.add({"b": {}})
    assert table.path.read_bytes() == before


def _adds(path, name):
    for number in range(5):
        Table(path).add({f"{name}{number}": {}})


def test_two_processes_lose_no_record(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_adds, args=(tmp_path / "a.parquet", name)) for name in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(Table(tmp_path / "a.parquet").read()) == 10


# The driver


def test_a_partly_run_suite_goes_on_at_the_cell(tmp_path, capsys):
    table, cells, seen = Table(tmp_path / "a.parquet"), {f"c{n}": {"n": n} for n in range(5)}, []

    def dies_on_third(cell):
        seen.append(cell["n"])
        if cell["n"] == 2:
            raise KeyboardInterrupt
        return {"cell": cell}

    with pytest.raises(KeyboardInterrupt):
        drive.run(table, cells, dies_on_third)
    assert [*table.read()] == ["c0", "c1"]
    assert drive.run(table, cells, lambda cell: {"cell": cell} | ({"failed": "no"} if cell["n"] == 3 else {})) == [
        "c3: no"
    ]
    assert [*table.read()] == ["c0", "c1", "c2", "c4"]
    assert seen == [0, 1, 2]
    table.add({"c0": {"cell": {"n": 0}, "outdated": "an earlier form"}})
    drive.run(table, cells, lambda cell: {"cell": cell, "again": True})
    assert [key for key, record in table.read().items() if record.get("again")] == ["c0", "c3"]
    assert "a: 3 cells are there, 2 to run" in capsys.readouterr().err


def test_stale_records_say_why(tmp_path):
    table = Table(tmp_path / "a.parquet")
    table.add({"a": {"cell": {"lr": 1}}, "b": {"cell": {"lr": 1}}, "c": {"cell": {}}, "d": {"cell": {}, "failed": "x"}})
    table.add({"e": {"cell": {}, "outdated": "before decision 12"}})
    asked = {"a": {"lr": 1}, "b": {"lr": 2}, "d": {}, "e": {}}
    assert drive.Suite(table, asked).stale() == {
        "b": "measured with other lr than the suite has now",
        "c": "no cell of the suite asks for it",
        "d": "failed: x",
        "e": "of before decision 12",
    }


# The command line


def test_a_record_is_shown_and_dropped(tmp_path, capsys):
    table = Table(tmp_path / "a.parquet", 1)
    table.add({"one": {"schema": 1, "x": 2}, "two": {"schema": 9}})
    with pytest.raises(RunError, match=r"record 'two' of .* has schema 9") as error:
        table.read()
    command = str(error.value).partition("python -m benchmarks ")[2].rstrip(".")
    assert main(command.replace("'", "").split()) == 0  # as the message says
    assert table.read() == {"one": {"schema": 1, "x": 2}}
    assert main(["show", str(table.path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"key": "one", "schema": 1, "x": 2}
    assert main(["drop", str(table.path), "two"]) == 2
    assert "has no record 'two'" in capsys.readouterr().err
    assert main(["show", "none"]) == 2


def test_every_committed_table_reads_and_stale_ones_are_named(capsys):
    assert main(["list"]) == 0
    captured = capsys.readouterr().out
    for path in RECORDS.rglob("*.parquet"):
        assert f"| {path.relative_to(RECORDS).with_suffix('')} | " in captured
        assert table_of(str(path.relative_to(RECORDS).with_suffix(""))).read()
    assert main(["stale", "main_job"]) == 1
    assert "main_job: " in capsys.readouterr().out
    assert main(["stale", "claims/small"]) == 0
    assert {"claims/full", "science/fashion-cpu", "features/final", "label_errors"} <= set(suites())
