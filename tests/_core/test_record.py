from __future__ import annotations

import json

import pytest

from selfdistill._core.errors import RunError
from selfdistill._core.record import SCHEMA, environment, read_record, write_record


def test_round_trip(tmp_path):
    write_record(tmp_path, {"status": "running"} | environment("cpu"))
    record = read_record(tmp_path)
    assert record["schema"] == SCHEMA
    assert record["versions"]["torch"]
    assert record["hardware"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is no run directory"),
        ("{", "is damaged"),
        (json.dumps({"schema": 99}), "has schema 99, but this version reads schema 1"),
        ("[]", "has schema None"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=words):
        read_record(tmp_path)
