"""No absolute path is written to a run record, and each can be opened again."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from selfdistill._core.record import PATHS, opened_paths, read_record, relative_paths, write_json_record

names = st.text("abcXYZ. -_é", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: os.path.normpath("/" + "/".join(parts)))
relative = st.lists(names, min_size=1, max_size=3).map("/".join)


def nested(values):
    record: dict = {"data": {"classes": ["/m/01", "b"]}}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = record
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    return record


@given(st.dictionaries(st.sampled_from(PATHS), st.none() | paths | relative), paths)
def test_there_and_back(values, folder):
    record = nested(values)
    before = json.dumps(record)
    written = relative_paths(record, Path(folder))
    for name, value in values.items():
        place = written
        for part in name.split("."):
            place = place[part]
        assert place is None or not Path(place).is_absolute()
        assert place == value or Path(value).is_absolute()
    assert written["data"]["classes"] == ["/m/01", "b"]  # labels are no paths
    assert relative_paths(written, Path(folder)) == written
    assert opened_paths(written, Path(folder)) == record
    assert json.dumps(record) == before


def test_a_run_and_its_data_may_move_together(tmp_path, monkeypatch):
    record = {
        "status": "running", "warnings": [], "notes": [],
        "settings": {"method": "memory", "network": "linear", "epochs": 1, "batch_size": 2, "seed": 0, "lr": 0.1,
                     "momentum": 0.9, "device": "cpu"},
        "data": {"examples": 4, "classes": ["a", "b"], "input_shape": [1], "fingerprint": "0",
                 "source": str(tmp_path / "one" / "songs.csv"), "test": "test.csv"},
    }  # fmt: skip
    run = tmp_path / "one" / "runs" / "songs-001"
    run.mkdir(parents=True)
    write_json_record(run, record)
    assert str(tmp_path) not in (run / "run.json").read_text()
    (tmp_path / "one").rename(tmp_path / "two")
    monkeypatch.chdir(tmp_path / "two" / "runs")
    found = read_record(Path("songs-001"))
    assert found.data.source == str(tmp_path / "two" / "songs.csv")
    assert found.data.test == "test.csv"
    assert "paths_from_run" not in found.as_json()
