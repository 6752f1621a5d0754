"""Cells run in processes of their own, resume, and fail alone; the report names what is lost."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from benchmarks.features import __main__, cache, data_sets, drive, records, report
from benchmarks.features.data_sets import DataSet

from benchmarks import drive as shared
from selfdistill._core.errors import SettingError

TRUTH = np.arange(60) % 3
INPUTS = (np.random.default_rng(0).normal(size=(60, 3)) + 3 * np.eye(3)[TRUTH]).astype(np.float32)
DATA = DataSet("vehicle", "development", INPUTS, TRUTH, INPUTS, TRUTH, "made here")
FOUND = {
    "accuracy": 0.5,
    "wrong": 4,
    "auroc": 0.75,
    "average_precision": 0.5,
    "flagged": 3,
    "flagged_wrong": 2,
    "expected_wrong": None,
    "refined_right": 0.9,
}


def load(name):
    if name != "vehicle":
        raise FileNotFoundError(f"no {name}")
    return DATA


def some(rivals=("ridge, GCV", "kNN"), seeds=(0,), kinds=("symmetric-20",)):
    return drive.cells("development", load, only=["vehicle"], kinds=kinds, rivals=rivals, seeds=seeds)


def made(data_set, cell):
    return {"found": FOUND, "rows": {}, "cost": {"cpu_seconds": 1.0, "wall_seconds": 1.0, "peak_mib": 10.0}}


def test_all_cells_of_a_seed_come_before_the_next_and_absent_data_are_named(capsys):
    found = drive.cells("development", load, only=["music", "vehicle"], rivals=["kNN"], seeds=[4, 1])
    assert [cell["seed"] for cell in found] == [4] * (len(found) // 2) + [1] * (len(found) // 2)
    assert {cell["data"] for cell in found} == {"vehicle"}
    assert "music is left out: no music" in capsys.readouterr().err
    with pytest.raises(SettingError, match="no data set 'vowel'"):
        drive.cells("development", load, only=["vowel"])


def test_a_cell_leaves_a_whole_record_and_is_not_run_again(tmp_path, capsys):
    cells = some()
    assert drive.run(cells, load, store=tmp_path) == 0
    there = records.table_of("development", tmp_path).read()
    assert len(there) == 2
    record = there[records.key(cells[0])]
    assert record["cell"] == cells[0]
    assert record["found"]["accuracy"] > 0.8
    assert record["rows"] == {"train": 60, "test": 60, "classes": 3}
    assert {"commit", "created", "versions", "hardware", "settings", "cost"} <= set(record)
    assert record["cost"]["cpu_seconds"] >= 0
    capsys.readouterr()
    assert drive.run(some(seeds=(0, 1)), load, store=tmp_path, work=made) == 0
    assert "2 cells are there, 2 to run" in capsys.readouterr().err
    assert drive.run(cells, load, store=tmp_path, work=made, again=True) == 0
    assert len(records.table_of("development", tmp_path).read()) == 4


def test_a_cell_with_other_settings_is_measured_anew(tmp_path, monkeypatch):
    cells = some(["kNN"])
    drive.run(cells, load, store=tmp_path, work=made)
    monkeypatch.setitem(drive.rival("kNN").settings, "neighbours", 7)
    drive.run(cells, load, store=tmp_path, work=made)
    assert records.table_of("development", tmp_path).read()[records.key(cells[0])]["settings"] == {"neighbours": 7}


def _fails(data_set, cell):
    if cell["rival"] == "kNN":
        raise ValueError("no neighbours\nat all")
    return made(data_set, cell)


def _dies(data_set, cell):
    os._exit(9)


def _sleeps(data_set, cell):
    time.sleep(60)


def test_a_failing_cell_leaves_a_line_and_is_tried_again(tmp_path):
    cells = some(["kNN", "ridge, GCV"])
    assert drive.run(cells, load, store=tmp_path, work=_fails) == 1
    found = records.table_of("development", tmp_path).read()
    assert found[records.key(cells[0])]["failed"].startswith("ValueError: no neighbours")
    assert "found" in found[records.key(cells[1])]
    assert "- kNN, 1 cells, such as vehicle, symmetric-20, kNN, 0: ValueError" in report.write(
        "development", "network", tmp_path
    )
    assert drive.run(cells, load, store=tmp_path, work=made) == 0
    assert "failed" not in records.table_of("development", tmp_path).read()[records.key(cells[0])]


@pytest.mark.parametrize(("work", "why"), [(_dies, "its process ended with 9"), (_sleeps, "longer than 0.2 s")])
def test_a_process_that_dies_or_hangs_fails_alone(work, why):
    assert (
        why in shared.in_own_process(work, DATA, some()[0], limit=0.2 if work is _sleeps else 60, fork=True)["failed"]
    )


def _put(store, rival, seed, kind="weak", **found):
    cell = {"part": "final", "data": "vowel", "noise": kind, "rival": rival, "seed": seed}
    cost = {"cpu_seconds": 2.0, "wall_seconds": 2.0, "peak_mib": 5.0}
    records.write(
        "final", {"cell": cell, "settings": {}, "found": FOUND | found, "cost": cost, "rows": {"train": 50}}, store
    )


def test_the_report_names_lost_rows_first_and_means(tmp_path):
    for seed in range(3):
        _put(tmp_path, "network", seed, accuracy=0.5 + 0.01 * seed, expected_wrong=2.0)
        _put(tmp_path, "kNN", seed, accuracy=0.6 + 0.0101 * seed, auroc=0.5 + 0.001 * seed)
    text = report.write("final", "network", tmp_path)
    lost, means = text.index("Rows that network loses"), text.index("Means over rows")
    assert lost < means
    assert "- **kNN**. accuracy, 1: vowel, weak (-10.0)." in text
    summary = next(line for line in text[means:].splitlines() if line.startswith("| kNN"))
    cells = [cell.strip() for cell in summary.split("|")[1:-1]]
    assert cells[:5] == ["kNN", "1", "61.0", "51.0", "0 / 0 / 1"]
    assert cells[5:8] == ["50.1", "75.0", "1 / 0 / 0"]
    assert cells[11:] == ["0.75", "90.0", "2.0", "5.0"]
    assert "| network | 51.0 ± 1.0 | 75.0 ± 0.0 | 50.0 ± 0.0 | 2 / 4 | 90.0 ± 0.0 | 2.0 |" in text
    assert "No cell" in report.write("development", "network", tmp_path)


def test_the_report_says_how_ours_counts_and_what_it_costs_without_noise(tmp_path):
    ranges = ([3.0, 3.5], [3.0, 5.0], [1.0, 9.0])
    for seed, expected in enumerate((4.0, 4.3, 8.0)):
        _put(tmp_path, "kernel", seed, expected_wrong=expected, plausible=ranges[seed])
        _put(tmp_path, "kernel", seed, "symmetric-0", accuracy=0.9, wrong=0, flagged=1)
        _put(tmp_path, "LightGBM", seed, "symmetric-0", accuracy=0.91, wrong=0)
        _put(tmp_path, "forest", seed, "symmetric-0", accuracy=0.89, wrong=0)
    text = report.write("final", "kernel", tmp_path)
    assert "| weak | 2 of 3 | 2 of 2 | 0 of 1 | 0.07 | 2 of 3 |" in text
    assert "| vowel | 90.0 | 91.0 (LightGBM) | 2.0 |" in text


def test_the_command_line_prepares_runs_and_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data_sets, "names", lambda part: ["vehicle"] if part == "development" else [])
    monkeypatch.setitem(data_sets.DATA_SETS, "vehicle", lambda *_: DATA)
    places = ["--data", str(tmp_path), "--cache", str(tmp_path / "cache")]
    assert __main__.main(["prepare", *places]) == 0
    assert cache.load("vehicle", "development", tmp_path, tmp_path / "cache").train.shape == (60, 3)
    run = ["run", *places, "--rivals", "ridge, GCV", "--noise", "pair-30", "--seeds", "0", "--records", str(tmp_path)]
    assert __main__.main([*run, "--list"]) == 0
    assert capsys.readouterr().out.endswith("vehicle, pair-30, ridge, GCV, 0\n")
    assert __main__.main(run) == 0
    assert __main__.main(["report", "--records", str(tmp_path)]) == 0
    assert "vehicle, pair-30" in capsys.readouterr().out
