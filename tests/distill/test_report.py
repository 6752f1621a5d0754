"""Lines about a distillation: candidates, measures and generations, from a record alone."""

from __future__ import annotations

from selfdistill.distill import summary, who_teaches


def record(candidates=3, earlier=0):
    rows = [
        {"epoch": e, "held_out_accuracy": 0.5, "changed_share": 0.1, "agreement": 0.6, "chosen_by": []}
        for e in range(1, candidates + 1)
    ]
    rows[-1]["chosen_by"] = ["last", "held-out"]
    return {
        "settings": {"network": "mlp:8"},
        "distillation": {
            "teacher": {"name": "runs/a-001", "epoch": candidates},
            "choose": "held-out",
            "candidates": rows,
            "choices": {"last": {"epoch": 3}, "air": {"not": "not asked"}},
            "objective": "hinton",
            "numbers": {"temperature": 4.0, "weight": 0.9},
            "generations": 1 + earlier,
            "earlier": [{"folder": f"generation-{g + 1}", "test_accuracy": {"last": 0.9}} for g in range(earlier)],
            "soft_labels": {"kind": "float16 logits", "views": 4, "bytes": 1200, "augment": "flip", "file": "soft"},
            "dark_knowledge": {"entropy": 1.0, "beyond_top": 0.5, "top": 0.75, "agreement": 0.6},
        },
    }


def test_all_of_few_candidates_are_shown_with_who_points_to_them():
    lines = summary(record())
    assert lines[0] == "Teacher: runs/a-001 after epoch 3, chosen by held-out from 3 epochs"
    assert lines[1].split() == ["epoch", "held", "out", "changed", "agreement", "chosen", "by"]
    assert lines[4].split() == ["3", "50.0", "%", "10.0", "%", "60.0", "%", "last,", "held-out"]
    assert "  Not said: air (not asked)" in lines
    assert "  Kept as float16 logits, 4 views (flip), 1,200 bytes in soft" in lines
    assert lines[-1] == "Student: mlp:8, hinton (temperature 4, weight 0.9)"


def test_of_many_those_that_some_way_points_to():
    lines = summary(record(candidates=40))
    assert "  ... of 40 epochs, all in run.json" in lines
    assert len([line for line in lines if line.split()[:1] and line.split()[0].isdigit()]) == 1


def test_generations_and_a_single_candidate():
    lines = summary(record(candidates=1, earlier=2))
    assert lines[0] == "Teacher: runs/a-001 after epoch 1"
    assert "  generation-2: test accuracy 90.0 %" in lines
    assert lines[-1].endswith(", generation 3")
    assert who_teaches({"teacher": {"name": "Net"}}) == "Teacher: Net"
