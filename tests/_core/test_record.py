from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfdistill._core.errors import RunError
from selfdistill._core.record import SCHEMA, RunRecord, environment, read_record, write_json_record, write_record

SETTINGS = {"method": "m", "network": "mlp", "epochs": 1, "batch_size": 2, "seed": 0, "lr": 0.1, "momentum": 0.9}
RESULT = {"label_issues": 1, "confused": [], "seconds": 1.0}
KERNEL = SETTINGS | {"device": "cpu", "method": "kernel"}
CLOSED = {"kernel": "rbf", "landmarks": 2, "round": 1, "nats": 1.0, "mixture": []}
RECORD = {
    "status": "running",
    "settings": SETTINGS | {"device": "cpu"},
    "data": {"examples": 2, "classes": ["a", "b"], "input_shape": [3], "fingerprint": "f"},
    "warnings": [],
    "notes": [],
}


def test_round_trip(tmp_path):
    written = RunRecord.from_json(RECORD | environment("cpu"))
    write_record(tmp_path, written)
    record = read_record(tmp_path)
    assert (record.version, record.settings.epochs) == (SCHEMA, 1)
    assert record.versions["torch"]
    assert record.hardware["device"] == "cpu"
    assert record.as_json() == {"schema": SCHEMA} | written.as_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is not a run directory"),
        ("{", "is damaged"),
        ('{"schema": 2, "a": ' + "9" * 5000 + "}", "is damaged: Exceeds the limit"),
        ('{"schema": 2, "a": ' + "[" * 10**5 + "]" * 10**5 + "}", "is damaged: maximum recursion depth"),
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
    write_json_record(tmp_path, RECORD)
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
        ({"data": RECORD["data"] | {"read": {"magic": 1}}}, r"data.read.magic is 1"),
        ({"settings": 5}, "settings is 5"),
        ({"settings": RECORD["settings"] | {"epochs": True}}, "settings.epochs is True"),
        ({"settings": RECORD["settings"] | {"lr": 1e999}}, None),
        ({"warnings": [1]}, r"warnings\[0\] is 1"),
        ({"settings": SETTINGS}, "settings.device is missing"),
        ({"settings": RECORD["settings"] | {"lr_warmup": 2.0}}, r"settings.lr_warmup is 2.0, but must be in \(0, 1\)"),
        ({"settings": RECORD["settings"] | {"seed": 2**70}}, "settings.seed is 1180591620717411303424, but must be .*"),
        (
            {"result": {"label_issues": 1, "confused": [["a", "b"]], "seconds": 1}},
            r"result.confused\[0\]\[2\] is missing",
        ),
        (
            {"result": {"label_issues": 1, "confused": [], "seconds": 1, "test_accuracy": 0.5}},
            "result.test_accuracy is 0.5",
        ),
        ({"status": "finished"}, "curves is None"),
        ({"status": "finished", "curves": {"loss": []}}, "curves.agreement is missing"),
        ({"status": "finished", "curves": {"loss": []}, "result": RESULT, "settings": KERNEL}, "closed is missing"),
        ({"closed": CLOSED | {"plausible_wrong": [1.0]}}, r"closed.plausible_wrong\[1\] is missing"),
    ],
)
def test_what_has_not_the_form_of_a_record_is_refused_in_one_line(tmp_path, changes, words):
    if words is None:
        with pytest.raises(ValueError, match="Out of range"):
            write_json_record(tmp_path, RECORD | changes)
        return
    write_json_record(tmp_path, RECORD | changes)
    with pytest.raises(RunError, match=f"run.json is not a run record: {words}. Run `fit` again"):
        read_record(tmp_path)


def test_a_changed_record_is_checked_and_the_first_one_stays():
    record = RunRecord.from_json(RECORD)
    assert record.updated(status="interrupted").status == "interrupted"
    assert record.status == "running"
    with pytest.raises(ValueError, match="status is 'done'"):
        record.updated(status="done")


@pytest.mark.parametrize(
    ("status", "words"), [("failed", "run failed: no room"), ("interrupted", "run is not finished")]
)
def test_a_run_that_is_not_finished_is_refused_in_one_place(status, words):
    with pytest.raises(RunError, match=words):
        RunRecord.from_json(RECORD | {"status": status, "error": "no room"}).check_finished(Path("run"))
