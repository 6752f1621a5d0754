"""Decisions as CSV and as Label Studio has them: there and back, and what other programs may have made of them."""

import json

import pytest

from selfdistill._core.errors import DataError
from selfdistill.runs._decision_files import Decisions, decided_array, read_decisions, write_decisions
from selfdistill.runs._decisions import Decided, Journal

IDS, CLASSES = ["a", 'b, "quoted"\nline', "<script>", "ערך"], ["cat", 'dog "x", y']
GIVEN, REFINED = ["cat", "cat", 'dog "x", y', "cat"], ['dog "x", y', "cat", "cat", "cat"]
DECIDED = Decided({0: 'dog "x", y', 1: "cat"}, {2}, {3: None})


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_there_and_back(tmp_path, ending):
    path = tmp_path / f"d{ending}"
    assert write_decisions(path, DECIDED, IDS, GIVEN, REFINED) == 3
    found = read_decisions(path, IDS, CLASSES)
    assert found.labels == DECIDED.labels
    assert found.unsure == ({2} if ending == ".csv" else set())  # Label Studio has no word for it
    with pytest.raises(DataError, match="exists already"):
        write_decisions(path, DECIDED, IDS, GIVEN, REFINED)


def test_a_journal_is_read_too(tmp_path):
    journal = Journal(tmp_path / "j.jsonl", "r", IDS, CLASSES)
    journal.add("label", [2], ["cat"])
    journal.close()
    assert read_decisions(tmp_path / "j.jsonl", IDS, CLASSES).labels == {2: "cat"}
    assert read_decisions(tmp_path / "j.jsonl", IDS[::-1], CLASSES).labels == {1: "cat"}  # by name


def test_what_label_studio_exports(tmp_path):
    def task(name, *annotations):
        results = [
            {"was_cancelled": off, "result": [{"type": "choices", "from_name": "label", "value": {"choices": [label]}}]}
            for label, off in annotations
        ]
        return {"id": 7, "data": {"id": name}, "annotations": results, "predictions": []}

    path = tmp_path / "export.json"
    tasks = [task("a", ("cat", False), ('dog "x", y', False)), task("<script>", ("cat", True)), task("ערך"), task("z")]
    path.write_text(json.dumps([*tasks, task("other", ("cat", False))]))
    found = read_decisions(path, IDS, CLASSES)
    assert (found.labels, found.unknown) == ({0: 'dog "x", y'}, ("other",))
    path.write_text(json.dumps([{"id": "a", "label": "cat"}, {"id": "ערך"}]))  # JSON-MIN
    assert read_decisions(path, IDS, CLASSES).labels == {0: "cat"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.txt", "", "ends in '.txt'"),
        ("d.csv", None, "is no file"),
        ("d.csv", "name,label\na,cat\n", r"columns name, label. Name them id and label"),
        ("d.csv", "id,label\na,cow\n", "'cow', which is not a class"),
        ("d.csv", 'id,label\na,cat\na,"dog ""x"", y"\n', "both 'cat' and"),
        ("d.csv", "id,label\nzebra,cat\n", "no example of the data, but 'zebra'"),
        ("d.json", "{", "cannot be read"),
        ("d.json", '[{"annotations": [{"result": []}]}]', "cannot be read"),
        ("d.json", '[{"id": "a", "label": ["cat", "dog"]}]', "2 labels at once"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_decisions(tmp_path / name, IDS, CLASSES)


def test_empty_cells_decide_nothing(tmp_path):
    (tmp_path / "d.csv").write_text("\ufeffid,settled_label,decision\na,cat,changed\n<script>,,unsure\nערך,,\n")
    found = read_decisions(tmp_path / "d.csv", IDS, CLASSES)
    assert (found.labels, found.unsure) == ({0: "cat"}, {2})


def test_positions():
    assert decided_array(Decisions({1: "b"}), ["a", "b"], 3).tolist() == [-1, 1, -1]
