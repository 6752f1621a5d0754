from pathlib import Path

import pytest

from selfdistill._core.record import RunRecord
from selfdistill.runs._verdict import comparison, verdict

RUN = Path("runs/pets-001")


def record(**result):
    found = {
        "label_issues": 3,
        "confused": [["cat", "dog", 2], ["dog", "cat", 1]],
        "never_refined_to": [],
        "seconds": 75.0,
    }
    return {
        "data": {"examples": 2000, "classes": ["cat", "dog"], "counts": {}, "source": "pets.csv"},
        "settings": {"method": "memory", "network": "mlp", "epochs": 9, "device": "cpu"},
        "result": found | result,
    }


def text(made):
    return "\n".join(verdict(opened(made), RUN))


def opened(made):
    needed = {"status": "running", "warnings": [], "notes": []}
    data = {"input_shape": [2], "fingerprint": "0f"} | made["data"]
    settings = {"batch_size": 16, "seed": 0, "lr": 0.1, "momentum": 0.9} | made["settings"]
    return RunRecord.from_json(needed | made | {"data": data, "settings": settings})


def test_it_counts_what_looks_wrong_and_names_the_pairs():
    shown = text(record())
    assert shown.startswith("3 of 2,000 labels look wrong (0.1 %)\n")
    assert "  cat      ->  dog            2\n  dog      ->  cat            1\n" in shown
    assert "other pairs" not in shown
    assert "Trained for 9 epochs in 75 s (memory, mlp, cpu)" in shown


def test_pairs_beyond_the_fifth_are_summed():
    pairs = [[f"c{i}", f"c{i + 1}", 10] for i in range(8)]
    shown = text(record(label_issues=100, confused=pairs))
    assert shown.count("  ->  c") == 5
    assert [line.split()[-1] for line in shown.splitlines() if "other pairs" in line] == ["50"]


def test_labels_doubted_without_a_better_one_are_no_pairs():
    shown = text(record(label_issues=5, no_better_label=2))
    assert "other pairs" not in shown
    assert next(line for line in shown.splitlines() if "no better label" in line).split()[-1] == "2"
    shown = text(record(label_issues=1, no_better_label=1, confused=[]))
    assert "->" not in shown
    assert "no better label" in shown.splitlines()[1]


def test_nothing_wrong_is_said_plainly():
    shown = text(record(label_issues=0, confused=[]))
    assert shown.startswith("None of the 2,000 labels looks wrong\n")


def test_nothing_wrong_is_not_said_of_so_few_that_nobody_knows():
    made = record(label_issues=0, confused=[], estimated_noise={"expected_wrong": 0.2, "health": 0.99})
    made["data"]["examples"] = 120
    part = {"source": "kernel", "noise": "even", "confusion": "none", "round": 1}
    closed = {"kernel": "linear", "landmarks": 9, "ridges": [0.1], "nats": 0.4, "tried": [], "mixture": [], **part}
    shown = text(made | {"closed": closed | {"plausible_wrong": [0.0, 11.4]}})
    assert shown.startswith("Whether some of the 120 labels are wrong is not known\n  0 expected to be wrong; 0 to 11 ")
    shown = text(made | {"closed": closed | {"plausible_wrong": [0.0, 1.9]}})
    assert shown.startswith("None of the 120 labels looks wrong\n")


def test_the_warning_light_follows_what_was_found_and_is_wrapped():
    made = record()
    assert "trust" not in text(made).lower()  # a record from before there was a light
    made["trust"] = {"verdict": "refuse", "sentences": ["Do not trust this: " + "because " * 30, "Second\x1b[31m one."]}
    lines = text(made).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  Do not trust this: because"))
    assert lines[at - 1].startswith("  dog ")
    assert lines[at + 1].startswith("    because")
    assert r"  Second\u001b[31m one." in lines
    assert max(map(len, lines[: at + 4])) < 120


def test_what_still_holds_is_said_where_the_rest_is_not_to_be_trusted():
    refused = {"verdict": "refuse", "sentences": ["Do not trust this: so."], "evidence": {"confidence": 0.5}}
    made = record(most_doubtful=[100, 75.2]) | {"trust": refused}
    message = "least label_quality first: by the run's own estimate, about 75 of them are wrong, give or take 20."
    assert message in " ".join(text(made).split())
    assert "Look at the 100 labels of least" in " ".join(text(made).split())
    for verdict_, shown in (("trust", False), ("except", False), ("refuse", True)):
        assert ("  Still: the ranking" in text(made | {"trust": refused | {"verdict": verdict_}})) == shown
    assert "Still" not in text(record() | {"trust": refused})  # of a run that did not note it
    closed = made | {"trust": refused | {"evidence": {"largest": 0.5}}}
    assert "Still: nothing about single labels holds, not even their ranking." in text(closed)
    few = closed | {"data": closed["data"] | {"examples": 9}}
    assert "Still: the ranking is useful" in text(few)
    assert "about 75" not in text(few)


def test_one_is_one():
    made = record(label_issues=1)
    made["data"]["counts"] = {"missing_values": 1}
    assert text(made).startswith("1 of 2,000 labels looks wrong")
    assert "  1 missing feature value imputed\n" in text(made)


def test_more_than_half_wrong_is_a_reason_to_look():
    assert "More than half" in text(record(label_issues=1001))
    assert "More than half" not in text(record(label_issues=1000))


def test_classes_that_nothing_was_refined_to_are_named_or_counted():
    assert "No example was refined to: x, y." in text(record(never_refined_to=["x", "y"]))
    assert "... (20 in all)" in text(record(never_refined_to=[f"c{i}" for i in range(20)]))


def test_counts_of_reading_are_told():
    made = record()
    made["data"]["counts"] = {"missing_values": 1200, "dropped_unlabelled": 0, "skipped_bad": 2, "odd_thing": 1}
    shown = text(made)
    assert "  1,200 missing feature values imputed\n  2 unreadable images skipped\n  1 odd thing\n" in shown
    assert "without a label" not in shown


def test_accuracy_has_its_epoch_counted_from_one():
    shown = text(record(test_accuracy={"last": 0.9, "best": 0.95, "best_epoch": 0}))
    assert "Test accuracy 90.0 % after the last epoch (best: 95.0 %, epoch 1)" in shown


def test_truth_may_be_partial():
    truth = {"examples": 10.0, "given_right": 1.0, "refined_right": 0.9, "right_spoiled": 0.1}
    shown = text(record(truth=truth))
    assert "Against the truth, known for 10 examples\n  100.0 % of the given labels are right, 90.0 %" in shown
    assert "AUROC" not in shown
    assert "precision" not in shown
    assert "set right" not in shown


def test_known_truth_tells_precision_and_recall_of_what_looks_wrong():
    truth = {"examples": 10.0, "given_right": 0.5, "refined_right": 0.9}
    shown = text(record(truth=truth | {"flagged_precision": 0.75, "flagged_recall": 0.6}))
    assert "  Of the labels that look wrong, 75.0 % are wrong (precision)\n" in shown
    assert "  Of the wrong labels, 60.0 % look wrong (recall)\n" in shown


@pytest.mark.parametrize(
    ("source", "new"),
    [
        ("a/pets.csv.gz", "new.csv.gz"),
        ("pets.v2.tsv.gz", "new.tsv.gz"),
        ("photos.v2/", "NEW_FOLDER"),
        ("train-images-idx3-ubyte.gz", "NEW_FOLDER"),
        ("digits", "digits"),
        ("a/pets.csv", "new.csv"),
        ("x.parquet", "new.parquet"),
        ("photos/", "NEW_FOLDER"),
        (None, "digits"),
    ],
)
def test_the_next_command_fits_the_source(source, new):
    made = record()
    made["data"]["source"] = source
    assert f"selfdistill predict runs/pets-001 {new}" in text(made)


@pytest.mark.parametrize("source", [None, "pets.csv"])
def test_the_demonstration_ends_with_the_way_to_ones_own_labels(source):
    made = record()
    made["data"]["source"] = source
    assert ("selfdistill fit DATA --label COLUMN" in text(made)) == (source is None)


def test_a_folder_with_spaces_is_quoted():
    assert "selfdistill predict 'my runs/one' " in "\n".join(verdict(opened(record()), Path("my runs/one")))


def test_names_cannot_write_control_sequences():
    shown = text(record(confused=[["a\x1b[31m\nb", "c" * 99, 3]], never_refined_to=["x\ry"]))
    assert not set("\x1b\r") & set(shown)
    assert r"a\u001b[31m\u000ab" in shown
    assert max(len(line) for line in shown.splitlines() if "->" in line) < 80


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.25, "0.2 s"), (119.0, "119 s"), (125.0, "2 min"), (7260.0, "2 h 1 min")]
)
def test_durations(seconds, shown):
    assert f"in {shown} (" in text(record(seconds=seconds))


def test_comparison_sets_two_runs_side_by_side():
    def measured(last, refined, fixed):
        truth = {
            "examples": 100.0,
            "given_right": 0.6,
            "refined_right": refined,
            "wrong_set_right": fixed,
            "flagged_recall": 0.8,
            "auroc": 0.9,
        }
        return {"test_accuracy": {"last": last, "best": last + 0.1, "best_epoch": 3}, "truth": truth}

    made = record(**measured(0.8, 0.95, 0.9)) | {"comparison": measured(0.5, 0.6, 0.0) | {"method": "cross-entropy"}}
    shown = comparison(opened(made))
    rows = {" ".join(line.split()[:-4]): line.split()[-4:] for line in shown}
    assert rows["Test accuracy, last epoch"] == ["50.0", "%", "80.0", "%"]
    (fixed,) = [line.split()[-2:] for line in shown if "set right, of 40" in line]
    assert fixed == ["0", "36"]
    assert rows["Wrong labels that look wrong (recall)"] == ["80.0", "%", "80.0", "%"]
    assert any(line.split()[-3:] == ["(precision)", "-", "-"] for line in shown)
    assert len({len(line) for line in shown[1:]}) == 1
    assert "Against the truth" not in text(made)


def test_no_comparison_no_lines():
    assert comparison(opened(record())) == []
