"""The table of rankings that were tried shows what was recorded."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import label_errors_report


def test_the_table_holds_the_means_of_the_records():
    rows = json.loads((label_errors_report.ROOT / "benchmarks/records/label_rankings.json").read_text())["rows"]
    gains = [row["scores"]["gain of margin"][0] for row in rows if row["name"] == "SemEval, rules"]
    line = next(line for line in label_errors_report.tried() if line.startswith("| SemEval, rules"))
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2] == str(len(gains)) == "3"
    assert cells[10].startswith(f"{100 * np.mean(gains):.1f} / ")
