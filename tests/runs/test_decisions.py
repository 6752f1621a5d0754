"""The journal: what is written is there after any end of the process, and nothing is overwritten."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill._core.errors import DataError, RunError
from selfdistill.runs._decisions import Decided, Journal, journal_path, read_header, read_journal

IDS, CLASSES = ["a", 'b "quoted"', "<script>", "ערך"], ["cat", "dog"]


def opened(path):
    return Journal(path, "run-1", IDS, CLASSES)


def state(decided):
    return dict(decided.labels), set(decided.unsure), list(decided.skipped)


def test_steps_are_there_when_it_is_opened_again(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = opened(path)
    journal.add("label", [0], ["dog"])
    journal.add("label", [1, 2], ["cat", "cat"])
    journal.add("unsure", [3])
    journal.add("skip", [0])
    before = state(journal.decided)
    journal.close()
    again = opened(path)
    assert state(again.decided) == before == ({1: "cat", 2: "cat"}, {3}, [0])
    assert again.version == 4
    assert read_journal(path) == [(IDS[1], "cat"), (IDS[2], "cat"), (IDS[3], None)]
    again.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.just(("undo",)),
            st.tuples(st.sampled_from(["unsure", "skip"]), st.integers(0, 3)),
            st.tuples(st.just("label"), st.integers(0, 3), st.sampled_from(CLASSES)),
        ),
        max_size=12,
    )
)
def test_any_steps_and_undos_equal_a_list_of_what_was_not_undone(tmp_path_factory, actions):
    path = tmp_path_factory.mktemp("j") / "j.jsonl"
    journal, kept = opened(path), []
    for action in actions:
        if action[0] == "undo":
            assert (journal.undo() is None) == (not kept)
            kept = kept[:-1]
        else:
            journal.add(action[0], [action[1]], action[2:])
            kept.append(action)
    labels, unsure, skipped = {}, set(), []
    for kind, row, *label in kept:
        labels.pop(row, None)
        unsure.discard(row)
        skipped = [one for one in skipped if one != row]
        if kind == "label":
            labels[row] = label[0]
        elif kind == "unsure":
            unsure.add(row)
        else:
            skipped.append(row)
    journal.close()
    again = opened(path)
    assert state(again.decided) == state(journal.decided) == (labels, unsure, skipped)
    again.close()


def test_a_torn_last_line_is_cut_off_wherever_it_tears(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = opened(path)
    journal.add("label", [0], ["dog"])
    journal.add("label", [1], ["cat"])
    journal.close()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in [*range(0, len(whole), 7), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        again = opened(path)
        there = sum(len(b"".join(lines[: i + 1])) <= length for i in (1, 2))
        assert again.version == there
        again.add("unsure", [2])
        again.close()
        assert ("<script>", None) in read_journal(path)


def test_each_line_is_synced_before_the_answer(tmp_path, monkeypatch):
    calls = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(handle), real(handle)))
    journal = opened(tmp_path / "j.jsonl")
    before = len(calls)
    journal.add("label", [0], ["dog"])
    journal.undo()
    assert len(calls) == before + 2
    journal.close()


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    journal = opened(tmp_path / "j.jsonl")
    journal.add("label", [0], ["dog"])
    before, real = (tmp_path / "j.jsonl").read_bytes(), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: real(handle, data[:10], at))
    with pytest.raises(OSError, match="no room on disk"):
        journal.add("label", [1], ["dog"])
    assert (tmp_path / "j.jsonl").read_bytes() == before
    assert (journal.version, journal.decided.labels) == (1, {0: "dog"})
    journal.close()


def test_a_second_writer_is_refused(tmp_path):
    journal = opened(tmp_path / "j.jsonl")
    with pytest.raises(RunError, match="in use by another `selfdistill review`"):
        opened(tmp_path / "j.jsonl")
    journal.close()
    opened(tmp_path / "j.jsonl").close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: ["not json", *lines[1:]], "line 1 of .* cannot be used"),
        (lambda lines: [lines[0].replace("run-1", "run\\n2"), *lines[1:]], r"another run \('run 2'\)"),
        (
            lambda lines: [lines[0], lines[1].replace('"rows": [0]', '"rows": ["a\\nb"]'), *lines[2:]],
            r"there is no example 'a\\nb'. Give 0 to 3",
        ),
        (lambda lines: [lines[0].replace(": 4", ": 5"), *lines[1:]], "about 5 examples, but there are 4"),
        (lambda lines: [lines[0], *lines[2:]], "step 1 is missing"),
        (lambda lines: [lines[0], lines[1].replace("dog", "cow"), *lines[2:]], "'cow' is not a class"),
        (lambda lines: [lines[0], lines[1].replace('"rows": [0]', '"rows": [3]'), *lines[2:]], "examples are others"),
        (lambda lines: [lines[0], lines[1].replace('"kind": "label"', '"kind": "x"'), *lines[2:]], "not a kind"),
        (lambda lines: [*lines, json.dumps({"n": 3, "kind": "undo", "of": 1})], "not the last"),
    ],
)
def test_a_damaged_or_foreign_journal_is_refused_and_left_alone(tmp_path, change, message):
    path = tmp_path / "j.jsonl"
    journal = opened(path)
    journal.add("label", [0], ["dog"])
    journal.add("unsure", [1])
    journal.close()
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    before = path.read_bytes()
    with pytest.raises(RunError, match=message) as refused:
        opened(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


def test_a_strangers_file_is_not_emptied(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text("my notes")
    with pytest.raises(RunError, match="is not a file of decisions"):
        opened(path)
    assert path.read_text() == "my notes"
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with pytest.raises(RunError, match="cannot be opened"):
        opened(link)


def test_rows_and_classes_are_checked_before_anything_is_written(tmp_path):
    journal = opened(tmp_path / "j.jsonl")
    for rows, labels, message in [
        ([4], ["dog"], "no example 4"),
        ([0], ["cow"], "not a class"),
        ([0, 1], ["dog"], "1 la"),
    ]:
        with pytest.raises(DataError, match=message):
            journal.add("label", rows, labels)
    assert journal.version == 0
    journal.close()
    assert Decided() == journal.decided


def test_the_journal_lies_beside_the_run(tmp_path, monkeypatch):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "a")
    from pathlib import Path

    assert journal_path(Path()) == tmp_path / "runs" / "a.decisions.jsonl"


def test_the_first_line_says_what_it_is_about(tmp_path):
    path = tmp_path / "j.jsonl"
    Journal(path, "run-1", IDS, CLASSES, {"name": "songs", "data": "0f"}).close()
    assert {"run": "run-1", "examples": 4, "name": "songs", "data": "0f"}.items() <= read_header(path).items()
    opened(path).close()  # which says nothing of it
    with pytest.raises(RunError, match=r"about another run \('songs'\)"):
        Journal(path, "run-2", IDS, CLASSES)
    with pytest.raises(RunError, match=r"about another run \('songs'\), not about 'wine'"):
        Journal(path, "run-2", IDS, CLASSES, {"name": "wine"})
    for content in (b"", b"{}\n", b"[]\n", b"\xff\n"):
        path.write_bytes(content)
        with pytest.raises(RunError, match="is not a file of decisions"):
            read_header(path)
