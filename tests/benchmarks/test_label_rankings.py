"""Rankings by the course of training follow their definitions; the page's table shows what was recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.label_rankings import rankings

from benchmarks import label_errors_report


def test_rankings_equal_a_loop_over_epochs():
    rng = np.random.default_rng(0)
    own, other = np.log(rng.uniform(0.01, 0.5, (2, 10, 7)))
    quality, q = rng.random((2, 7))
    made = rankings(own, other, quality, q, wrong=0.4)
    for i in range(7):
        margins = [own[e, i] - other[e, i] for e in range(10)]
        late, early = sum(margins[5:]) / 5, sum(margins[:4]) / 4
        assert made["gain of margin"][i] == pytest.approx(late - early)
        assert made["mean margin"][i] == pytest.approx(sum(margins) / 10)
        assert made["last margin"][i] == pytest.approx(margins[-1])
    assert np.array_equal(made["label_quality"], made["mean margin"])
    assert np.array_equal(rankings(own, other, quality, q, wrong=0.5)["label_quality"], quality)


def test_the_table_holds_the_means_of_the_records():
    rows = json.loads((label_errors_report.ROOT / "benchmarks/records/label_rankings.json").read_text())["rows"]
    gains = [row["scores"]["gain of margin"][0] for row in rows if row["name"] == "SemEval, rules"]
    line = next(line for line in label_errors_report.tried() if line.startswith("| SemEval, rules"))
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2] == str(len(gains)) == "3"
    assert cells[10].startswith(f"{100 * np.mean(gains):.1f} / ")
