"""The bench of rivals: statistics and the report."""

from __future__ import annotations

import pytest
from benchmarks.science import (
    columns,
    conditions,
    records,
    report,
)
from scipy import stats

MORE_SEEDS = ("[100, 101]", "[100, 101, 102]")

# Statistics


def test_epochs_and_accuracies_are_those_counted_by_hand(science, tmp_path):
    trial = science.write_suite(tmp_path)
    plain = science.record(trial, "cross-entropy", 100, [0.5, 0.8, 0.6], [0.3, 0.4, 0.5])
    # moving averages of changed_share 1, .2, .4: 1, .6, .533: still falling, so the last epoch
    assert columns.epochs_of(plain) == {"last": 2, "hold-out": 2, "oracle": 1, "label wave": 2}
    plain["curves"]["changed_share"] = [0.2, 0.1, 0.9]  # .2, .15, .4: lowest at the second
    assert columns.epochs_of(plain)["label wave"] == 1
    assert columns.accuracies(plain) == {"last": 0.6, "hold-out": 0.6, "oracle": 0.8, "label wave": 0.8}
    other = science.record(trial, "sat", 100, [0.5, 0.8, 0.6], [0.5, 0.4, 0.5], kept_epoch=2)
    assert columns.epochs_of(other) == {"last": 1, "hold-out": 0, "oracle": 1}
    assert columns.accuracies(science.record(trial, "sat", 100, [], diverged="the loss became nan")) == {}


def test_the_paired_test_is_that_of_scipy():
    a, b = {0: 0.84, 1: 0.83, 2: 0.85}, {0: 0.80, 2: 0.81, 1: 0.802, 7: 0.1}
    found = columns.compare(a, b)
    one_sample = stats.ttest_1samp([0.84 - 0.80, 0.83 - 0.802, 0.85 - 0.81], 0.0)
    assert found.p == pytest.approx(stats.ttest_rel([0.84, 0.83, 0.85], [0.80, 0.802, 0.81]).pvalue)
    assert found.p == pytest.approx(one_sample.pvalue)
    assert (found.seeds, found.verdict) == (3, "win")
    assert found.difference == pytest.approx(0.036)
    assert columns.compare(b, a).verdict == "loss"


def test_ties_are_what_is_not_significant():
    base = {0: 0.80, 1: 0.82, 2: 0.84}
    shifted = {seed: value - 0.03 + 0.0001 * seed for seed, value in base.items()}  # the spread is that of the seeds
    assert columns.compare(base, shifted).p < 0.001
    assert columns.compare(base, shifted).verdict == "win"
    assert columns.compare(shifted, base).verdict == "loss"
    noisy = {0: 0.70, 1: 0.805, 2: 0.6}
    assert columns.compare(base, noisy).p > 0.05
    assert columns.compare(base, noisy).verdict == "tie"
    same = columns.compare(base, {seed: value - 0.5 for seed, value in base.items()})
    assert (same.p, same.verdict) == (None, "win")
    assert columns.compare(base, dict(base)).verdict == "tie"


def test_fewer_than_three_seeds_are_not_tested():
    assert columns.compare({0: 0.9}, {0: 0.1}).verdict == "untested"
    assert columns.compare({}, {0: 0.1}).verdict == "untested"
    two = columns.compare({0: 0.9, 1: 0.91}, {0: 0.1, 1: 0.12})
    assert (two.p, two.verdict) == (None, "untested")


def test_costs_are_paired_by_seed_and_machine(science, tmp_path):
    trial = science.write_suite(tmp_path)
    plain = [science.record(trial, "cross-entropy", seed, [0.5]) for seed in (100, 101)]
    mine = [science.record(trial, "sat", seed, [0.5]) for seed in (100, 101)]
    mine[0]["cost"] |= {"cpu_seconds": 27.0, "training_peak_mib": 500.0}
    mine[1]["hardware"] = {"device_name": "another", "threads": 1}
    assert columns.ratios(mine, plain, "cpu") == [pytest.approx(2.5)]
    assert columns.ratios(mine, plain, "memory") == [pytest.approx(1.25)]
    assert columns.ratios(plain, plain, "wall") == [1.0, 1.0]
    mine[1]["cost"] |= {"cpu_seconds": 27.0, "plain_cpu_seconds": 50.0}  # its own measure, on whatever machine
    assert columns.ratios(mine, plain, "cpu") == [pytest.approx(2.5), pytest.approx(0.5)]


# The report


def test_the_report_says_what_a_hand_computes(science, tmp_path):
    text = science.toml.replace(*MORE_SEEDS).replace('"sat"', '"sat", "dong-1", "dong-2"')
    trial, store = science.write_suite(tmp_path, text), tmp_path / "r"
    curves = {
        "selfdistill": [[0.6, 0.80], [0.6, 0.82], [0.6, 0.81]],
        "cross-entropy": [[0.70, 0.50], [0.71, 0.51], [0.72, 0.53]],
        "sat": [[0.60, 0.90], [0.60, 0.93], [0.60, 0.91]],
        "dong-1": [[0.70, 0.805], [0.70, 0.80], [0.70, 0.82]],
        "dong-2": [[0.7, 0.5], [0.7, 0.5], []],
    }
    held = [0.4, 0.3]  # the first epoch, for all but the default, whose hold-out is not compared
    for row, found in curves.items():
        for seed, test in zip(trial.seeds, found, strict=True):
            more = {} if test else {"diverged": "the loss became nan in epoch 1"}
            records.write("trial", science.record(trial, row, seed, test, held[: len(test)], **more), store)
    lines = report.section(trial, store, tmp_path / "pictures")
    body = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}
    assert "| 81.0 ± 1.0 | 60.0 ± 0.0 | 81.0 ± 1.0 |" in body["**selfdistill**"]
    assert "| 51.3 ± 1.5 | 71.0 ± 1.0 | 71.0 ± 1.0 |" in body["cross-entropy"]
    p = stats.ttest_rel([0.80, 0.82, 0.81], [0.70, 0.71, 0.72]).pvalue
    assert f"| < 0.001 | {p:.3f} | wins |" in body["cross-entropy"]
    assert "| **loses**, wins |" in body["sat"]
    assert "| ties, wins |" in body["dong-1"]
    assert "50.0 ± 0.0 (1 of 3 diverged)" in body["dong-2"]
    assert "| it diverged |" in body["dong-2"]
    assert body["sat"].endswith("| 1.00 ± 0.00 | 1.00 ± 0.00 | 4.0 | 3 |")
    assert body["symmetric-40"] == ("| symmetric-40 | 81.0 ± 1.0 | 1 of 4 | dong-1 (last) | sat (last) | dong-2 | 0 |")
    assert "15 of 30 cells are measured" in "\n".join(lines)
    assert report.lost([trial], store)[2] == "- trial, symmetric-40: to sat (last)"
    message = report.lost([trial], store)[-2]
    assert message.startswith(
        "1 of the 3 comparisons made so far, and 1 of the 3 with methods that take less than 1.5 "
    )
    assert message.endswith("Among as many comparisons of equals about 0 would be lost by chance.")
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["science-trial.png", "science-trial.svg"]


def test_records_of_several_commits_are_said_to_be(science, tmp_path):
    trial, store = science.write_suite(tmp_path), tmp_path / "r"
    made = {"commit": "a" * 40, "created": "2026-02-01T00:00:00+00:00"}
    records.write("trial", science.record(trial, "selfdistill", 100, [0.5], **made), store)
    records.write("trial", science.record(trial, "cross-entropy", 100, [0.5], **made), store)
    lines = report.section(trial, store, tmp_path / "p")
    assert f"Records of commit {'a' * 9}, 2026-02-01." in lines
    other = made | {"commit": "b" * 40 + "-dirty", "created": "2026-01-31T00:00:00+00:00"}
    records.write("trial", science.record(trial, "sat", 100, [0.5], **other), store)
    records.write("trial", science.record(trial, "sat", 101, [0.5]), store)
    lines = report.section(trial, store, tmp_path / "p")
    assert f"Records of 3 commits, 2026-01-31 to 2026-02-01; the default's are of {'a' * 9}." in lines


def test_a_row_that_is_told_the_noise_is_marked_and_not_counted(science, tmp_path):
    extra = '\n[[rows]]\nname = "forward, told T"\nmethod = "forward"\nnoise_matrix = "oracle"\n'
    trial, store = science.write_suite(tmp_path, science.toml + extra), tmp_path / "r"
    for row in ("selfdistill", "cross-entropy", "forward, told T"):
        records.write("trial", science.record(trial, row, 100, [0.5, 0.6]), store)
    lines = report.section(trial, store, tmp_path / "p")
    assert any(line.startswith("| forward, told T † |") for line in lines)
    rows = next(iter(conditions.group(trial, store).values()))
    assert conditions.outcome(trial, rows)["untested"] == ["cross-entropy"]


def test_a_variant_and_a_part_of_the_default_are_shown_and_no_rivals(science, tmp_path):
    more = '\n[[rows]]\nname = "selfdistill, other"\nmethod = "selfdistill"\nnumbers = { noise_step = 0.2 }\n'
    trial = science.write_suite(
        tmp_path, (science.toml + more).replace('"sat"', '"sat", "memory"').replace(*MORE_SEEDS)
    )
    rows = {
        row: [science.record(trial, row, seed, [value + seed / 1e5]) for seed in trial.seeds]
        for row, value in (("selfdistill", 0.5), ("sat", 0.3), ("memory", 0.8), ("selfdistill, other", 0.9))
    }
    assert conditions.outcome(trial, rows) == {"win": ["sat"], "tie": [], "loss": [], "diverged": [], "untested": []}


def test_the_short_table_names_the_best_rival(science, tmp_path, monkeypatch):
    trial, store = science.write_suite(tmp_path, science.toml.replace(*MORE_SEEDS)), tmp_path / "r"
    for row, test in (("selfdistill", [0.5, 0.9]), ("cross-entropy", [0.8, 0.6]), ("sat", [0.7, 0.85])):
        for seed in trial.seeds:
            records.write("trial", science.record(trial, row, seed, [v + seed / 1e5 for v in test], [0.5, 0.4]), store)
    monkeypatch.setattr(report, "read_suite", lambda name: trial)
    assert report.short_table(["trial"], store).splitlines()[2] == (
        "| digits, symmetric-40 | **90.1 ± 0.0** | 60.1 ± 0.0 | 80.1 ± 0.0 | 85.1 ± 0.0 (sat) | "
        "70.1 ± 0.0 (sat) | 2 / 0 / 0 |"
    )


def test_what_a_dear_rival_costs_stands_beside_its_name(science, tmp_path, monkeypatch):
    trial, store = science.write_suite(tmp_path, science.toml.replace(*MORE_SEEDS)), tmp_path / "r"
    for row, test in (("selfdistill", 0.5), ("cross-entropy", 0.4), ("sat", 0.7)):
        for seed in trial.seeds:
            made = science.record(trial, row, seed, [test + seed / 1e5])
            made["cost"] |= {"plain_cpu_seconds": 1.0, "cpu_seconds": 6.1 if row == "sat" else 1.0}
            made["cost"]["evaluation_cpu_seconds"] = 0.0
            records.write("trial", made, store)
    monkeypatch.setattr(report, "read_suite", lambda name: trial)
    assert "(sat, 6.1 ×)" in report.short_table(["trial"], store)
    found = report.lost([trial], store)
    assert found[2] == "- trial, symmetric-40: to sat, which takes 6.1 times as long as cross-entropy"
    assert found[4].startswith("1 of the 2 comparisons made so far, and none of the 1 with methods that take")


def test_a_report_without_records_says_how_to_get_them(tmp_path):
    page = report.write(["cifar10"], tmp_path / "none", tmp_path / "page.md", tmp_path)
    text = page.read_text()
    assert "0 of 800 cells are measured" in text
    assert "It needs a GPU." in text
    assert "Not counted yet: `python -m benchmarks.science cost`." in text
    assert "Nothing is tested yet." in text
