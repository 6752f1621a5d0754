from __future__ import annotations

import json

import pytest

from selfdistill._core.errors import RunError
from selfdistill._core.record import SCHEMA, environment, read_record, write_record

SETTINGS = {"method": "m", "network": "mlp", "epochs": 1, "batch_size": 2, "seed": 0, "lr": 0.1, "momentum": 0.9}
RECORD = {
    "status": "running",
    "settings": SETTINGS | {"device": "cpu"},
    "data": {"examples": 2, "classes": ["a", "b"], "input_shape": [3], "fingerprint": "f"},
    "warnings": [],
    "notes": [],
}


def test_round_trip(tmp_path):
    write_record(tmp_path, RECORD | environment("cpu"))
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


def test_flipped_bits_are_seen(tmp_path):
    write_record(tmp_path, RECORD)
    whole, path = (tmp_path / "run.json").read_bytes(), tmp_path / "run.json"
    for place in range(0, 8 * len(whole), 7):  # each bit of a byte in turn
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(RunError):
            read_record(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "done"}, "status is 'done'"),
        ({"data": RECORD["data"] | {"classes": "ab"}}, r"data.classes is 'ab'"),
        ({"data": RECORD["data"] | {"read": {"magic": 1}}}, r"data.read is \{'magic': 1\}"),
        ({"settings": 5}, "settings is 5"),
        ({"settings": RECORD["settings"] | {"epochs": True}}, "settings.epochs is True"),
        ({"settings": RECORD["settings"] | {"lr": 1e999}}, None),
        ({"warnings": [1]}, r"warnings is \[1\]"),
        ({"status": "finished"}, "curves is None"),
        ({"status": "finished", "curves": {"loss": []}}, "curves.agreement is missing"),
    ],
)
def test_what_has_not_the_form_of_a_record_is_refused_in_one_line(tmp_path, changes, words):
    if words is None:
        with pytest.raises(ValueError, match="Out of range"):
            write_record(tmp_path, RECORD | changes)
        return
    write_record(tmp_path, RECORD | changes)
    with pytest.raises(RunError, match=f"run.json is no record of a run: {words}. Run `fit` again"):
        read_record(tmp_path)
